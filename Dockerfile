# The image of sluice-apiserver: one static binary, nothing else.
#
#   docker build --build-arg VERSION=v0.1.0 -t sluice.dev/sluice-apiserver:dev .
FROM golang:1.26 AS build
WORKDIR /src
COPY go.mod go.sum ./
RUN go mod download
COPY cmd ./cmd
COPY pkg ./pkg
ARG VERSION=v0.1.0-dev
RUN CGO_ENABLED=0 go build -buildvcs=false -trimpath \
      -ldflags "-s -w -X sluice.dev/sluice/pkg/version.Version=${VERSION}" \
      -o /sluice-apiserver ./cmd/apiserver

FROM scratch
# For webhooks and trace collectors outside the cluster.
COPY --from=build /etc/ssl/certs/ca-certificates.crt /etc/ssl/certs/
COPY --from=build /sluice-apiserver /sluice-apiserver
USER 65532:65532
ENTRYPOINT ["/sluice-apiserver"]
