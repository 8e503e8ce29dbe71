"""The indicators under the name by which a strategy imports them: `from ultra.indicators import sma`.

They live in `ultra.hot.indicators`; `docs/indicators.md` says what each is.
Known bad case: importing this starts the compiler's libraries (half a second), which `import ultra` alone does not.
"""

from .hot.indicators import *  # noqa: F403
from .hot.indicators import __all__ as __all__
