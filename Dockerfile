# One image with every program of labelstream. Build: docker build -t labelstream .
FROM rust:1.95-bookworm AS build
WORKDIR /labelstream
COPY . .
RUN --mount=type=cache,target=/usr/local/cargo/registry \
    --mount=type=cache,target=/labelstream/target \
    cargo build --release --locked --package consumer --package trainer --package cli \
    && cp target/release/consumer target/release/trainer target/release/labelstream /usr/local/bin/

FROM debian:bookworm-slim
RUN apt-get update \
    && apt-get install --yes --no-install-recommends ca-certificates libssl3 \
    && rm -rf /var/lib/apt/lists/* \
    && useradd --system --uid 10001 --create-home labelstream \
    && install --directory --owner labelstream --group labelstream /checkpoints /cache
COPY --from=build /usr/local/bin/consumer /usr/local/bin/trainer /usr/local/bin/labelstream /usr/local/bin/
USER labelstream
ENV LABELSTREAM_CACHE=/cache LABELSTREAM_WORK=/cache/trainer
VOLUME ["/checkpoints", "/cache"]
CMD ["labelstream", "--help"]
