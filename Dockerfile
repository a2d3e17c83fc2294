# The one image of all services. First: npm ci && npm run bundle
# BASE is an image with Node 24 as /nodejs/bin/node (distroless) that runs without a shell.
ARG BASE=gcr.io/distroless/nodejs24-debian12:nonroot
FROM ${BASE}
COPY dist/image /app
WORKDIR /app
USER 65532:65532
ENV NODE_ENV=production MALLOC_ARENA_MAX=1
# The chart's argument names the service: dispatcher, monitor.
ENTRYPOINT ["/nodejs/bin/node", "--max-old-space-size-percentage=50", "--max-semi-space-size=4", "/app/main.js"]
