"""The drawing page's server: for browsers on this machine only, and without network access.

Expect: all ten digits that the browser test draws recognised by 784-100-10, trained for 3 epochs on 10,000 images of
MNIST; ready after 5 s of processor time.
"""

import os
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory

from bnbench.core.errors import UserError
from bnbench.plan.plan import Plan

HOST = "127.0.0.1"
PORTS = range(7860, 7960)  # the first free one is used unless --port names one


def serve(plan: Plan, run_ids: Sequence[str], port: int | None = None, browser: bool = True) -> None:
    """Open the page and serve it until Ctrl-C or SIGTERM.

    Args:
        plan: the plan from which runs are chosen if `run_ids` is empty.
        run_ids: the runs to show.
        port: the port to listen on.
        browser: whether to open the page in a browser.

    Raises:
        UserError: Gradio is not installed, no run has weights, or the port is taken.
        DataError: the runs' data are missing.
    """
    if find_spec("gradio") is None:
        raise UserError('the page needs Gradio, which is not installed; run `pip install "bnbench[demo]"`')
    from bnbench.demo.ink import FORMS
    from bnbench.demo.views import choose, data_of, views

    chosen = run_ids or choose(plan, list(FORMS))
    data = data_of(plan, chosen)
    if data.shape not in FORMS:
        shapes = " or ".join(map(str, FORMS))
        raise UserError(f"images of {data.name} are {data.shape}; a drawing can only be converted to {shapes}")
    shown = views(plan.store, chosen, data)
    with TemporaryDirectory(prefix="bnbench-demo-") as folder:
        os.environ |= {"GRADIO_ANALYTICS_ENABLED": "False", "GRADIO_TEMP_DIR": folder}
        from bnbench.demo import page

        try:
            served = page.launch(page.build(shown, data), HOST, [port] if port else PORTS, browser, Path(folder))
        except OSError:
            taken = port or f"{PORTS[0]} to {PORTS[-1]}"
            raise UserError(f"port {taken} of {HOST} is taken; name a free one with --port") from None
        print(f"{served.local_url} (Ctrl-C ends it)", flush=True)
        served.block_thread()
