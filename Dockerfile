# A server for one run directory: docker build -t xmtc . && docker run -p 8000:8000 -v RUN:/run-dir:ro xmtc
FROM python:3.11-slim

WORKDIR /app
COPY pyproject.toml constraints.txt README.md LICENSE ./
COPY xmtc ./xmtc
COPY conf ./conf
# The plain package brings CUDA along. --build-arg PIP_EXTRA_INDEX_URL=... with PyTorch's index of CPU builds and
# TORCH=2.13.0+cpu make the image a third of the size.
ARG PIP_EXTRA_INDEX_URL=
ARG TORCH=2.13.0
RUN pip install --no-cache-dir "torch==${TORCH}" \
    && pip install --no-cache-dir -c constraints.txt '.[serve]' \
    && useradd --system --create-home xmtc

WORKDIR /home/xmtc
USER xmtc
EXPOSE 8000
HEALTHCHECK --interval=10s --timeout=3s --start-period=60s \
  CMD ["python", "-c", "import urllib.request; urllib.request.urlopen('http://127.0.0.1:8000/health')"]
# SIGTERM answers everything that was sent, which may take the slowest answer: docker stop --time 45
ENTRYPOINT ["python", "-m", "xmtc.serve"]
# Inside a container only the published port is reachable; set XMTC_TOKEN where others can reach that
CMD ["/run-dir", "host=0.0.0.0"]
