"""What people read: text, charts as data, their drawings, documents."""
