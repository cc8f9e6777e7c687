import json

import httpx
import pytest


def error(response, status):
    assert response.status_code == status, response.text
    content = response.json()
    assert list(content) == ["error"] and "\n" not in content["error"]
    return content["error"]


def predict(client, **body):
    return client.post("/predict", json={"texts": ["abc"], **body})


def test_predict(client):
    answer = client.post("/predict", json={"texts": ["abc", ""], "k": 2}).json()
    assert answer == {
        "predictions": [
            {"labels": ["l4", "l3"], "names": ["Label 4", "Label 3"], "scores": [0.9, 0.45]},
            {"labels": ["l1", "l0"], "names": ["Label 1", "Label 0"], "scores": [0.9, 0.45]},
        ]
    }


def test_raw_threshold_and_k(client):
    assert predict(client, raw=True, k=1).json()["predictions"][0]["labels"] == ["l3"]
    assert predict(client, threshold=0.4).json()["predictions"][0]["scores"] == [0.9, 0.45]
    assert predict(client, threshold=0.4, k=1).json()["predictions"][0]["scores"] == [0.9]
    assert predict(client, threshold=0.4, k=None).json()["predictions"][0]["scores"] == [0.9, 0.45]
    assert len(predict(client, k=10**9).json()["predictions"][0]["labels"]) == 12, "more than L gives all labels"
    assert client.post("/predict", json={"texts": []}).json() == {"predictions": []}


@pytest.mark.parametrize(
    "body, status, says",
    [
        (b"{", 400, "no JSON"),
        (b"", 400, "no JSON"),
        (b'{"texts": ["\xff"]}', 400, "no JSON"),
        (b'{"texts": ["\\ud800"]}', 400, "no JSON"),
        (b'{"texts": "one text"}', 422, "texts"),
        (b'{"texts": [1]}', 422, "texts.0"),
        (b"[]", 422, ""),
        (b"{}", 422, "texts"),
        (b'{"texts": ["a"], "top": 3}', 422, "top"),
        (b'{"text": "a"}', 422, "texts: Field required; text: Extra inputs are not permitted"),
        (b'{"texts": ["a"], "b": 1, "c": 2, "d": 3, "e": 4}', 422, "d: Extra inputs are not permitted (and 1 more)"),
        (b'{"texts": ["a"], "' + b"x" * 200 + b'": 1}', 422, "x" * 80 + ": Extra"),
        (b'{"texts": ["a"], "k": 0}', 422, "k"),
        (b'{"texts": ["a"], "k": "5"}', 422, "k"),
        (b'{"texts": ["a"], "k": null}', 422, "k: expected"),
        (b'{"texts": ["a"], "threshold": 2.0}', 422, "threshold"),
        (b'{"texts": ["a"], "threshold": "unknown"}', 422, "threshold"),
        (b'{"texts": ["poison"]}', 500, "failed"),
    ],
)
def test_bad_bodies(client, body, status, says):
    assert says in error(client.post("/predict", content=body), status)
    assert predict(client).status_code == 200


@pytest.mark.parametrize("error", [MemoryError(), type("PanicException", (BaseException,), {})("null")], ids=repr)
def test_a_body_that_finds_no_memory_is_refused(client, monkeypatch, error):
    from xmtc.serving.answers import PredictRequest

    def short(body):
        raise error

    with monkeypatch.context() as patch:
        patch.setattr(PredictRequest, "model_validate_json", short)
        response = client.post("/predict", json={"texts": ["a"]})
    assert response.status_code == 503 and "out of memory" in response.json()["error"]
    assert predict(client).status_code == 200


@pytest.mark.parametrize("text", ["", "\x00", "a\x00b", "\n", "é\u2028", "\U0001f600" * 3])
def test_odd_texts_are_answered(client, text):
    (found,) = client.post("/predict", json={"texts": [text], "k": 1}).json()["predictions"]
    assert found["labels"] == [f"l{(len(text) + 1) % 12}"]


def test_limits_are_named(run_server):
    server = run_server(max_texts=2, max_text=10, max_body=1000, max_k=4)
    with httpx.Client(base_url=server.url) as client:
        assert "max_texts=2" in error(client.post("/predict", json={"texts": ["a"] * 3}), 413)
        assert "max_text=10" in error(client.post("/predict", json={"texts": ["a", "b" * 11]}), 413)
        assert "max_body=1,000" in error(client.post("/predict", json={"texts": ["a" * 2000]}), 413)
        assert "max_k=4" in error(predict(client, k=5), 422)
        # without a length told ahead
        assert "max_body" in error(client.post("/predict", content=(b"x" * 400 for _ in range(5))), 413)
        assert predict(client, k=4).status_code == 200
    assert server.app.state.bodies.held == 0


def test_ten_megabytes_of_text_are_refused_by_name(client):
    assert "max_text=1,000,000" in error(client.post("/predict", json={"texts": ["word " * 2_000_000]}), 413)


def test_explain(client):
    answer = client.post("/explain", json={"text": "abc", "k": 3}).json()
    assert answer["head"] is True
    places = [(row["label"], row["move"], row["raw_rank"], row["rank"]) for row in answer["enhanced"]]
    assert places == [("l4", "promoted", 2, 1), ("l3", "demoted", 1, 2), ("l5", "same", 3, 3)]
    assert [row["label"] for row in answer["raw"]] == ["l3", "l4", "l5"]
    assert answer["raw"][0]["raw_score"] == 0.9 and answer["raw"][0]["score"] == 0.45
    error(client.post("/explain", json={"texts": ["abc"]}), 422)


def test_labels(client):
    everything = client.get("/labels").json()
    assert everything["total"] == 12 and everything["labels"][3] == {
        "index": 3, "label": "l3", "name": "Label 3", "frequency": 9,
    }  # fmt: skip
    page = client.get("/labels", params={"offset": 10, "limit": 5}).json()
    assert [row["label"] for row in page["labels"]] == ["l10", "l11"]
    found = client.get("/labels", params={"q": "LABEL 1"}).json()
    assert [row["index"] for row in found["labels"]] == [1, 10, 11]
    assert client.get("/labels", params={"q": "2"}).json()["total"] == 1
    assert client.get("/labels", params={"q": "nothing"}).json() == {"total": 0, "offset": 0, "labels": []}
    assert "limit" in error(client.get("/labels", params={"limit": 0}), 422)
    assert "offset" in error(client.get("/labels", params={"offset": "x"}), 422)


def test_labels_that_start_with_the_words_come_first(fake, run_server):
    fake.labels[7].name = "2 of a kind"
    with httpx.Client(base_url=run_server().url) as client:
        assert [row["index"] for row in client.get("/labels", params={"q": "2"}).json()["labels"]] == [7, 2]


def test_health_and_other_paths(client):
    health = client.get("/health").json()
    assert health["status"] == "ok"
    assert health["model"] == {"dataset": "toy", "encoder": "bow", "head": "lcenet", "labels": 12}
    error(client.get("/nothing"), 404)
    error(client.get("/predict"), 405)
    error(client.get("/docs"), 404)  # its scripts would come from elsewhere
    paths = client.get("/openapi.json").json()["paths"]
    assert {"/predict", "/explain", "/labels", "/health", "/metrics"} <= set(paths)
    schema = paths["/predict"]["post"]["requestBody"]["content"]["application/json"]["schema"]
    assert set(schema["properties"]) == {"texts", "k", "threshold", "raw"}


def test_metrics(run_server):
    with httpx.Client(base_url=run_server().url) as client:
        check_metrics(client)


def check_metrics(client):
    client.post("/predict", json={"texts": ["a", "b"]})
    client.post("/predict", content=b"{")
    client.get("/nothing/of/mine")
    text = client.get("/metrics").text
    for line in (
        'xmtc_requests_total{path="/predict",status="200"} 1.0',
        'xmtc_requests_total{path="/predict",status="400"} 1.0',
        'xmtc_requests_total{path="other",status="404"} 1.0',
        "xmtc_documents_total 2.0",
        "xmtc_batch_documents_count 1.0",
        "xmtc_queue_documents 0.0",
        "xmtc_held_bytes 0.0",
    ):
        assert line in text.splitlines(), line
    assert "process_resident_memory_bytes" in text


def test_the_token_guards_all_but_the_page_and_health(run_server):
    server = run_server(token="secret")
    with httpx.Client(base_url=server.url) as client:
        for method, path in (
            ("POST", "/predict"), ("POST", "/explain"), ("GET", "/labels"), ("GET", "/metrics"),
            ("GET", "/v1/projects"), ("GET", "/v1/projects/xmtc"), ("POST", "/v1/projects/xmtc/suggest"),
        ):  # fmt: skip
            for headers in ({}, {"Authorization": "Bearer wrong"}, {"Authorization": "secret"}):
                error(client.request(method, path, headers=headers), 401)
        assert client.get("/").status_code == client.get("/health").status_code == 200
        good = client.post("/predict", json={"texts": ["a"]}, headers={"Authorization": "Bearer secret"})
        assert good.status_code == 200


def test_a_token_of_any_letters(run_server):
    with httpx.Client(base_url=run_server(token="größe").url) as client:
        assert client.get("/labels", headers={"Authorization": "Bearer größe".encode()}).status_code == 200
        error(client.get("/labels", headers={"Authorization": "Bearer gr\ufffd\ufffdße".encode()}), 401)


def test_annif_shape(run_server):
    with httpx.Client(base_url=run_server(uri_prefix="http://example.org/").url) as client:
        (project,) = client.get("/v1/projects").json()["projects"]
        assert client.get(f"/v1/projects/{project['project_id']}").json() == project
        path = "/v1/projects/xmtc/suggest"
        found = client.post(path, data={"text": "äbc", "limit": 2, "threshold": 0.2}).json()["results"]
        first = {"uri": "http://example.org/l4", "label": "Label 4", "notation": None, "score": 0.9}
        assert found[0] == first and len(found) == 2
        error(client.post(path, data={"limit": 2}), 400)
        error(client.post(path, data={"text": "a", "limit": "x"}), 400)
        kind = {"Content-Type": "application/x-www-form-urlencoded"}
        error(client.post(path, content=b"text=%ff", headers=kind), 400)


def test_annifs_own_client(run_server):
    annif_client = pytest.importorskip("annif_client")
    annif = annif_client.AnnifClient(api_base=run_server().url + "/v1/")
    (project,) = annif.projects
    assert project["project_id"] == "xmtc"
    found = annif.suggest(project_id="xmtc", text="abc", limit=2)
    assert [(hit["uri"], hit["label"]) for hit in found] == [("urn:xmtc:l4", "Label 4"), ("urn:xmtc:l3", "Label 3")]


def test_answers_are_utf8_json(fake, run_server):
    fake.labels[0].name = "größe <b>"
    with httpx.Client(base_url=run_server().url) as client:
        response = client.get("/labels", params={"q": "GRÖSSE"})
        assert response.headers["content-type"] == "application/json"
        assert json.loads(response.content)["labels"][0]["name"] == "größe <b>"
