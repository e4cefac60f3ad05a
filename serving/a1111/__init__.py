"""The HTTP interface of Stable Diffusion web UI (A1111) 1.10.1, `/sdapi/v1/*`, on the service's jobs."""
