"""The measuring side: real models, token reducers on them, and the only home of torch."""

import logging
import os

# What libraries say of themselves while they are imported or profile, to whoever uses this one.
os.environ.setdefault("KINETO_LOG_LEVEL", "99")
for _name in ("torchao", "torch.utils._pytree"):
    logging.getLogger(_name).setLevel(logging.ERROR)
