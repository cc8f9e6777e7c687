# A server for one run directory: docker build -t xmtc . && docker run -p 8000:8000 -v RUN:/run-dir:ro xmtc
FROM python:3.11-slim

WORKDIR /app
COPY pyproject.toml constraints.txt README.md LICENSE ./
COPY xmtc ./xmtc
COPY conf ./conf
# The CPU build: a third of the size. For a GPU take torch from PyPI and start from an image with CUDA.
RUN pip install --no-cache-dir -c constraints.txt --extra-index-url https://download.pytorch.org/whl/cpu \
      "torch==2.13.0" '.[serve]' \
    && rm -rf /app \
    && useradd --system --create-home xmtc
WORKDIR /home/xmtc
USER xmtc
EXPOSE 8000
# A stop may take as long as the slowest answer: docker stop --time 45
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=3s --start-period=60s \
  CMD ["python", "-c", "import urllib.request; urllib.request.urlopen('http://127.0.0.1:8000/health')"]
ENTRYPOINT ["python", "-m", "xmtc.serve"]
# Inside a container only the published port is reachable; set XMTC_TOKEN where others can reach that
CMD ["/run-dir", "host=0.0.0.0"]
