# A web service of a trained model, on a CPU, as a user without rights:
#   docker build -t dltrain .
#   docker run --rm -p 127.0.0.1:8000:8000 --stop-timeout 40 -v "$PWD/runs/iris_dense:/model:ro" dltrain
# Other commands follow the image: docker run --rm -v "$PWD:/work" dltrain fit iris_dense
FROM python:3.12-slim AS build
WORKDIR /source
COPY pyproject.toml README.md LICENSE ./
COPY configs configs
COPY recipes recipes
COPY dltrain dltrain
RUN pip wheel --no-cache-dir --no-deps --wheel-dir /wheels .

FROM python:3.12-slim
RUN pip install --no-cache-dir --index-url https://download.pytorch.org/whl/cpu "torch>=2.11,<2.14"
COPY --from=build /wheels /wheels
RUN pip install --no-cache-dir "$(ls /wheels/*.whl)[serve]" && useradd --create-home --uid 1000 dltrain && mkdir /work && chown dltrain /work
USER dltrain
WORKDIR /work
EXPOSE 8000
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=30s --timeout=5s --start-period=60s CMD ["python", "-c", "import urllib.request; urllib.request.urlopen('http://127.0.0.1:8000/health', timeout=4)"]
ENTRYPOINT ["dltrain"]
CMD ["serve", "/model", "--host", "0.0.0.0", "--json-logs"]
