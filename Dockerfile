# The served graphs of langgraph.json, with the embedded pair or endpoints of yours (SPECEYES_*; see docs/serving.md).
#   docker build -t speceyes . && docker run -p 2024:2024 speceyes
# For production behind Postgres and Redis build the image of `langgraph build` instead: graphs/compose.yml.
FROM python:3.12-slim
ENV PIP_NO_CACHE_DIR=1 PYTHONUNBUFFERED=1
RUN apt-get update && apt-get install -y --no-install-recommends libgl1 libglib2.0-0 && rm -rf /var/lib/apt/lists/*
WORKDIR /app
RUN pip install torch --index-url https://download.pytorch.org/whl/cpu
COPY pyproject.toml constraints.txt README.md LICENSE ./
COPY langgraph_speceyes langgraph_speceyes
RUN pip install '.[local,ocr,openai,server]' -c constraints.txt --extra-index-url https://download.pytorch.org/whl/cpu
COPY graphs graphs
COPY langgraph.json ./
RUN useradd --create-home server
USER server
EXPOSE 2024
CMD ["langgraph", "dev", "--host", "0.0.0.0", "--no-browser", "--no-reload", "--n-jobs-per-worker", "16"]
