# One image for all of Earmark's processes; docker-compose.yml says which command each runs.

FROM python:3.11-slim AS build
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1 PYTHONDONTWRITEBYTECODE=1
WORKDIR /build

# The pinned packages first: this layer is built again only when a pin changes.
COPY requirements/runtime.txt requirements/build.txt requirements/
RUN python -m venv /opt/earmark \
    && /opt/earmark/bin/python -m pip install --require-hashes --requirement requirements/runtime.txt \
    && python -m venv /opt/builder \
    && /opt/builder/bin/python -m pip install --require-hashes --requirement requirements/build.txt

# Then the two wheels, built by the pinned hatchling with nothing fetched.
COPY pyproject.toml LICENSE ./
COPY clients/python clients/python
COPY services services
RUN /opt/builder/bin/python -m pip wheel --no-deps --no-build-isolation --no-index --wheel-dir wheels ./clients/python . \
    && /opt/earmark/bin/python -m pip install --no-deps --no-index wheels/*.whl \
    && /opt/earmark/bin/python -m pip check

FROM python:3.11-slim
ENV PATH=/opt/earmark/bin:$PATH PYTHONUNBUFFERED=1
COPY --from=build /opt/earmark /opt/earmark
# A number and not a name, so that a cluster can see that it is not root.
USER 10001:10001
WORKDIR /
EXPOSE 50051
# SIGTERM reaches the process itself, which lets calls finish.
CMD ["earmark-allocator"]
