# syntax=docker/dockerfile:1
#
# Both binaries in an image with nothing else: no shell, no package manager, no root.
#
#   docker build -t tokenbroker .
#
# The builder is pinned by version. To pin it by content, append the digest that
# `docker buildx imagetools inspect golang:1.26.8` shows: golang:1.26.8@sha256:...
FROM golang:1.26.8 AS build
WORKDIR /src
ENV CGO_ENABLED=0 GOTOOLCHAIN=local

# The modules are in a separate layer, so that a change of code does not fetch them again.
COPY go.mod go.sum ./
COPY internal/gintrim internal/gintrim
RUN --mount=type=cache,target=/go/pkg/mod go mod download

# Without the development server (-tags nodev). .git is copied as well (only into this stage): Go records the commit for `tokenbroker version`.
COPY . .
RUN --mount=type=cache,target=/go/pkg/mod --mount=type=cache,target=/root/.cache/go-build \
	mkdir -p /out && go build -tags nodev -trimpath -ldflags "-s -w" -o /out/ ./cmd/tokenbroker ./examples/service

# What the last stage cannot create without a shell: its user, and a directory for the data.
RUN mkdir -m 0700 /out/data \
	&& echo "tokenbroker:x:65532:65532:tokenbroker:/var/lib/tokenbroker:/nonexistent" >/out/passwd \
	&& echo "tokenbroker:x:65532:" >/out/group

FROM scratch
LABEL org.opencontainers.image.title="tokenbroker" \
	org.opencontainers.image.licenses="Apache-2.0" \
	org.opencontainers.image.description="An OIDC-style token broker, and a sample service that accepts its tokens"
COPY --from=build /out/passwd /out/group /etc/
# For upstream providers and for NATS over TLS.
COPY --from=build /etc/ssl/certs/ca-certificates.crt /etc/ssl/certs/ca-certificates.crt
COPY --from=build /out/tokenbroker /tokenbroker
COPY --from=build /out/service /service
COPY --from=build --chown=65532:65532 /out/data /var/lib/tokenbroker

USER 65532:65532
ENV TOKENBROKER_DATA_DIR=/var/lib/tokenbroker
VOLUME ["/var/lib/tokenbroker"]
EXPOSE 8080
STOPSIGNAL SIGTERM
# Over the admin socket in the data directory: no port, no token. /service has to bring its own.
HEALTHCHECK --interval=10s --timeout=3s --start-period=30s --retries=3 CMD ["/tokenbroker", "healthcheck"]
ENTRYPOINT ["/tokenbroker"]
CMD ["serve", "--config", "/etc/tokenbroker/tokenbroker.yaml"]
