# One image for every kind of process: the command says which. No embedded server, no compiler, no root.
FROM python:3.12-slim AS build
WORKDIR /build
COPY requirements/build.txt requirements/run.txt requirements/
RUN python -m venv /opt/greffier \
    && /opt/greffier/bin/python -m pip install --no-cache-dir --require-hashes -r requirements/run.txt -r requirements/build.txt
COPY pyproject.toml README.md LICENSE ./
COPY schemas schemas
COPY producers producers
COPY workers workers
RUN /opt/greffier/bin/python -m pip install --no-cache-dir --no-deps --no-build-isolation . \
    && /opt/greffier/bin/python -m pip uninstall --yes --requirement requirements/build.txt pip

FROM python:3.12-slim
COPY --from=build /opt/greffier /opt/greffier
ENV PATH=/opt/greffier/bin:$PATH \
    PYTHONDONTWRITEBYTECODE=1 \
    GREFFIER_DOOR_HOST=0.0.0.0 \
    GREFFIER_KEYS=/run/secrets
USER 10001:10001
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=5s --start-period=20s \
    CMD ["python", "-c", "import urllib.request as web; web.urlopen('http://127.0.0.1:8080/livez', timeout=3)"]
ENTRYPOINT ["greffier"]
CMD ["door"]
