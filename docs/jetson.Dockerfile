# fusion_rt on a Jetson with JetPack 6 or newer: docs/nvidia.md. Not yet run on one.
# The image must fit the JetPack on the board: cat /etc/nv_tegra_release
ARG BASE=nvcr.io/nvidia/l4t-jetpack:r36.4.0
FROM ${BASE}
RUN apt-get update \
    && apt-get install -y --no-install-recommends g++ python3-dev python3-pip python3-libnvinfer \
    && rm -rf /var/lib/apt/lists/*
WORKDIR /fusion_rt
COPY . .
RUN python3 -m pip install --no-cache-dir .
ENV FUSION_RT_CACHE=/cache
VOLUME /cache
CMD ["fusion-rt", "doctor"]
