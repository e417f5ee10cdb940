# For people who have Docker: docker build -t trevor . The same without it: make image.
# Both take the same files from tests/image/files.sh; what stands below FROM scratch is said
# a second time in tests/image/mkimage.py.
FROM rust:1.95-slim-bookworm AS build
RUN apt-get update \
 && apt-get install -y --no-install-recommends make gcc libc6-dev binutils ca-certificates \
 && rm -rf /var/lib/apt/lists/*
WORKDIR /trevor
COPY . .
RUN tests/image/files.sh

FROM scratch
COPY --from=build /trevor/target/image/files/ /
LABEL org.opencontainers.image.title=trevor \
      org.opencontainers.image.licenses=Apache-2.0 \
      org.opencontainers.image.version=0.1.0
ENV PATH=/ SSL_CERT_FILE=/etc/ssl/certs/ca-certificates.crt
WORKDIR /
USER 65532:65532
ENTRYPOINT ["/trevor"]
