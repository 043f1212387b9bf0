# One image for worker, beat and hub; the command says which. compose/compose.yaml and compose/mq.yaml run them.
#   docker build --tag streamtask .
#   docker run streamtask worker examples.diary.tasks:app

FROM python:3.13-slim-bookworm AS build
WORKDIR /src
COPY pyproject.toml README.md LICENSE ./
COPY streamtask streamtask
# A virtual environment is moved to the next stage whole; pip and its cache stay behind.
RUN python -m venv /opt/streamtask \
  && /opt/streamtask/bin/pip install --no-cache-dir '.[examples,hub]' \
  && /opt/streamtask/bin/pip uninstall --yes pip

FROM python:3.13-slim-bookworm
# A number, so that Kubernetes' runAsNonRoot can see that it is not root.
RUN useradd --uid 10001 --create-home --shell /usr/sbin/nologin streamtask \
  && install --directory --owner=10001 --group=10001 /data
COPY --from=build /opt/streamtask /opt/streamtask
# The app. Yours goes here instead: FROM this image, COPY your package to /app.
COPY examples /app/examples
ENV PATH=/opt/streamtask/bin:$PATH \
  PYTHONUNBUFFERED=1 \
  PYTHONDONTWRITEBYTECODE=1
WORKDIR /app
USER 10001:10001
# Whether the loop of this container's worker or beat turns; its heartbeat file is in /tmp, so mount that if / is
# read-only.
HEALTHCHECK --interval=30s --timeout=10s --start-period=30s CMD ["streamtask", "check", "live"]
# SIGTERM: stop fetching, finish or give back within --grace. Give the container longer than that to stop.
STOPSIGNAL SIGTERM
ENTRYPOINT ["streamtask"]
CMD ["--help"]
