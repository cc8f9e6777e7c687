"""The application: routes, refusals, the token. `make_app(model, settings)` is all that others need."""

from __future__ import annotations

import base64
import hashlib
import json
import re
import secrets
from collections.abc import Callable
from contextlib import asynccontextmanager
from importlib.resources import files

from fastapi import Depends, FastAPI, HTTPException, Query, Request, Response
from fastapi.exceptions import RequestValidationError
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException as StarletteHTTPException

import xmtc
from xmtc.errors import InputError
from xmtc.serving import annif
from xmtc.serving.answers import (
    Answers,
    ExplainAnswer,
    ExplainRequest,
    LabelsAnswer,
    PredictAnswer,
    PredictRequest,
    asked,
    explaining,
)
from xmtc.serving.batching import Batcher, ModelFailed, QueueFull
from xmtc.serving.bodies import Bodies, ClientGone, Refused, parse, unless_gone
from xmtc.serving.metrics import Counted, Metrics
from xmtc.serving.settings import Settings


def make_app(
    model, settings: Settings, token: str | None = None, stopping: Callable[[], bool] = lambda: False
) -> FastAPI:
    """An ASGI application. model: of `xmtc.load`. token: asked for as `Authorization: Bearer`, but for /, /health and
    /openapi.json.

    stopping: whether the server is about to end; /health then answers 503 and connections are closed.
    """
    answers = Answers(model)
    batcher = Batcher(
        answers.work,
        answers.cut,
        settings.max_batch,
        settings.max_wait_ms / 1000,
        settings.queue,
        lambda documents, seconds: metrics.batch_done(documents, seconds),
    )
    bodies = Bodies(settings)
    metrics = Metrics(batcher.__len__, lambda: bodies.held)
    page, policy = _page()

    @asynccontextmanager
    async def life(_: FastAPI):
        batcher.start()
        yield
        await batcher.stop()

    # the interactive documentation would load its scripts from elsewhere
    app = FastAPI(title="xmtc", version=xmtc.__version__, lifespan=life, docs_url=None, redoc_url=None)
    app.add_middleware(Counted, metrics=metrics, stopping=stopping)
    app.state.batcher, app.state.bodies, app.state.metrics = batcher, bodies, metrics
    _refusals(app, metrics)

    async def allowed(request: Request) -> None:
        given = request.headers.get("authorization", "").encode("latin-1")  # the bytes that came
        if token is not None and not secrets.compare_digest(given, f"Bearer {token}".encode()):
            raise HTTPException(401, "expected the header Authorization: Bearer TOKEN", {"WWW-Authenticate": "Bearer"})

    guarded = [Depends(allowed)]

    async def ask(request: Request, key: tuple, texts: list[str], k: int) -> list[dict]:
        if len(texts) > settings.max_texts:
            raise Refused(413, f"{len(texts)} texts, more than max_texts={settings.max_texts}")
        for i, text in enumerate(texts):
            if len(text) > settings.max_text:
                raise Refused(413, f"texts.{i}: {len(text):,} characters, more than max_text={settings.max_text:,}")
        k = min(k, model.num_labels)
        if k > settings.max_k:
            raise Refused(422, f"k: {k}, more than max_k={settings.max_k}")
        try:
            return await unless_gone(request, batcher.submit(key, texts, k), settings.timeout)
        except QueueFull:
            raise Refused(429, f"busy: {len(batcher)} texts are waiting, queue={settings.queue}", retry=1) from None

    @app.post("/predict", response_model=PredictAnswer, dependencies=guarded, openapi_extra=_takes(PredictRequest))
    async def predict(request: Request):
        """The labels of one or more texts."""
        with bodies.holding() as held:
            wanted = parse(PredictRequest, await held.read(request))
            if wanted.k is None and wanted.threshold is None:
                raise Refused(422, "k: expected how many labels at most, or a threshold")
            threshold = model.threshold(wanted.threshold)
            k = min(100, settings.max_k) if wanted.k is None else wanted.k
            found = await ask(request, asked(wanted.raw, threshold, k), wanted.texts, k)
        return _json({"predictions": found})

    @app.post("/explain", response_model=ExplainAnswer, dependencies=guarded, openapi_extra=_takes(ExplainRequest))
    async def explain(request: Request):
        """One text's labels with and without the correlation head, and what moved."""
        with bodies.holding() as held:
            wanted = parse(ExplainRequest, await held.read(request))
            (found,) = await ask(request, explaining(wanted.why, wanted.k), [wanted.text], wanted.k)
        return _json(found)

    @app.get("/labels", response_model=LabelsAnswer, dependencies=guarded)
    async def labels(
        q: str = Query("", max_length=200), offset: int = Query(0, ge=0), limit: int = Query(50, ge=1, le=1000)
    ):
        """The model's labels, searched by id and name, a page at a time."""
        return _json(await run_in_threadpool(answers.search, q, offset, limit))

    @app.get("/health")
    async def health():
        """200 while requests are welcome; 503 while the server stops."""
        status, code = ("stopping", 503) if stopping() else ("ok", 200)
        return _json({"status": status, "version": xmtc.__version__, "model": answers.about()}, code)

    @app.get("/metrics", dependencies=guarded)
    async def prometheus():
        return Response(metrics.text(), media_type="text/plain; version=0.0.4; charset=utf-8")

    @app.get("/", include_in_schema=False)
    async def root():
        return Response(page, media_type="text/html", headers={"Content-Security-Policy": policy})

    @app.get("/v1/projects", dependencies=guarded, tags=["Annif"])
    async def annif_projects():
        return _json({"projects": [annif.project(answers.about())]})

    @app.get(f"/v1/projects/{annif.PROJECT}", dependencies=guarded, tags=["Annif"])
    async def annif_project():
        return _json(annif.project(answers.about()))

    @app.post(f"/v1/projects/{annif.PROJECT}/suggest", dependencies=guarded, tags=["Annif"])
    async def annif_suggest(request: Request):
        """Subjects of a text in Annif's shape; a form with text, limit, threshold."""
        with bodies.holding() as held:
            text, limit, threshold = annif.form(await held.read(request))
            k = min(limit, settings.max_k)
            (found,) = await ask(request, asked(False, threshold, k), [text], k)
        return _json({"results": annif.results(found, settings.uri_prefix)})

    return app


def _takes(kind) -> dict:
    return {"requestBody": {"required": True, "content": {"application/json": {"schema": kind.model_json_schema()}}}}


def _json(content, status: int = 200, headers: dict | None = None) -> Response:
    body = json.dumps(content, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "replace")
    return Response(body, status, headers, "application/json")


def _refusals(app: FastAPI, metrics: Metrics) -> None:
    """Every error is `{"error": one line}`."""

    def refuse(status: int, line: str, headers: dict | None = None) -> Response:
        return _json({"error": line}, status, headers)

    @app.exception_handler(Refused)
    async def refused(_, error: Refused):
        # what is left of a body that was not read to its end cannot be told from a next request
        headers = {"Connection": "close"} if error.status in (408, 413) else {}
        return refuse(error.status, str(error), headers | ({"Retry-After": str(error.retry)} if error.retry else {}))

    @app.exception_handler(InputError)
    async def bad(_, error: InputError):
        return refuse(422, str(error))

    @app.exception_handler(ClientGone)
    async def gone(_, error):
        metrics.gone.inc()
        return refuse(499, "the client left")

    @app.exception_handler(RequestValidationError)
    async def invalid(_, error: RequestValidationError):
        first = error.errors()[0]
        return refuse(422, f"{first['loc'][-1]}: {first['msg']}")

    @app.exception_handler(StarletteHTTPException)
    async def http(_, error: StarletteHTTPException):
        return refuse(error.status_code, str(error.detail), error.headers)

    @app.exception_handler(MemoryError)
    async def short(_, error: MemoryError):
        return refuse(503, "out of memory; a shorter request, or a later one, may do", {"Retry-After": "1"})

    @app.exception_handler(ModelFailed)
    async def failed(_, error: ModelFailed):
        return refuse(500, str(error))


def _page() -> tuple[bytes, str]:
    """The page, and a policy under which nothing but its own script and style runs."""
    page = (files("xmtc.serving") / "page.html").read_bytes()

    def of(tag: bytes) -> str:
        found = re.findall(rb"<%s>(.*?)</%s>" % (tag, tag), page, re.S)
        hashes = (base64.b64encode(hashlib.sha256(text).digest()).decode() for text in found)
        return " ".join(f"'sha256-{digest}'" for digest in hashes)

    policy = (
        f"default-src 'none'; script-src {of(b'script')}; style-src {of(b'style')}; connect-src 'self'; img-src data:;"
        " base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )
    return page, policy
