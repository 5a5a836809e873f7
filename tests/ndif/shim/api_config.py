"""NDIF's gunicorn configuration, less the dispatcher, which runs on its own here so that the API can end without it.

anyio is imported before nnsight gives every object a ``save`` method, on which it trips: uploads over 1 MB fail.
"""

import anyio._backends._asyncio
import anyio.abc  # noqa: F401
from ndif.services.api.gunicorn_conf import post_fork, timeout, worker_class  # noqa: F401
