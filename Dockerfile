# The image of Sluice, by a container engine. "make image" makes the same one without: the same binary, certificates,
# user and entry point, which a test of test/install compares. Layers made here carry the time of the build, so that
# the digest is another one.
#
#   docker buildx build --platform linux/amd64,linux/arm64 --build-arg VERSION=v0.1.0 --tag REGISTRY/sluice-apiserver:v0.1.0 --push .

# The image of Go that it is built with: Go 1.26 or newer, with git not needed.
ARG GO=golang:1.26

FROM --platform=$BUILDPLATFORM ${GO} AS build
ARG TARGETARCH
# What the server says its version is.
ARG VERSION=v0.1.0-dev
ENV GOTOOLCHAIN=local GOWORK=off CGO_ENABLED=0 GOAMD64=v1 GOARM64=v8.0
WORKDIR /src
COPY . .
RUN GOOS=linux GOARCH=$TARGETARCH go build -buildvcs=false -trimpath -ldflags "-s -w -X sluice.dev/sluice/pkg/version.Version=$VERSION" -o /out/sluice-apiserver ./cmd/apiserver
RUN go -C hack/localcluster run -buildvcs=false ./cmd/authorities > /out/ca-certificates.crt

FROM scratch
ARG VERSION=v0.1.0-dev
LABEL org.opencontainers.image.title="Sluice" org.opencontainers.image.licenses="Apache-2.0" org.opencontainers.image.version="$VERSION"
WORKDIR /
COPY --from=build /out/ca-certificates.crt /etc/ssl/certs/ca-certificates.crt
COPY --from=build /out/sluice-apiserver /sluice-apiserver
USER 65532:65532
ENTRYPOINT ["/sluice-apiserver"]
