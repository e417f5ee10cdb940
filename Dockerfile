# For people who have Docker: docker build -t trevor . The same without it: make image.
FROM rust:1.95-slim-bookworm AS build
RUN apt-get update \
 && apt-get install -y --no-install-recommends make cmake gcc g++ libc6-dev ca-certificates \
 && rm -rf /var/lib/apt/lists/*
WORKDIR /trevor
COPY . .
# A target of its own name, so that build scripts are linked as usual and the program is static.
RUN RUSTFLAGS="-C target-feature=+crt-static" \
    cargo build --locked --release --bin trevor --target "$(rustc -vV | sed -n 's/^host: //p')" \
 && cp target/*/release/trevor /trevor.static

FROM scratch
COPY --from=build /etc/ssl/certs/ca-certificates.crt /etc/ssl/certs/ca-certificates.crt
COPY --from=build /trevor.static /trevor
COPY LICENSE /LICENSE
ENV SSL_CERT_FILE=/etc/ssl/certs/ca-certificates.crt
USER 65532:65532
ENTRYPOINT ["/trevor"]
