"""What a device does in a second, and how long its kernels take: peaks, resources, laws."""
