package fleet

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"

	"modal-github-runner/services/worker/internal/run"
)

const (
	// baseImage has the release of Ubuntu that GitHub calls ubuntu-latest.
	baseImage = "ubuntu:24.04"
	// runnerHome is where the image keeps the runner.
	runnerHome = "/opt/actions-runner"
	// keyBytes is how much of a SHA-256 tells an image from others.
	keyBytes = 8
)

// recipe is the layers of an image above its base, the runner last, so that a new runner rebuilds the last layer only.
func recipe(i run.Image, r run.RunnerRelease) [][]string {
	var layers [][]string
	if i.Registry == "" && i.Modal == "" {
		layers = append(layers, tools())
	}
	if !i.IsDefault() {
		layers = append(layers, append(append([]string{}, i.Steps...), prepare()...))
	}
	return append(layers, runner(r))
}

// tools is what workflows expect of an Ubuntu runner.
func tools() []string {
	return []string{
		"ENV DEBIAN_FRONTEND=noninteractive",
		"RUN apt-get update && apt-get install -y --no-install-recommends" +
			" build-essential ca-certificates curl git jq nodejs openssh-client python3 sudo tar unzip xz-utils zip zstd" +
			" docker-buildx docker-compose-v2 docker.io iproute2 procps" +
			" && rm -rf /var/lib/apt/lists/*",
	}
}

// prepare makes any image one that the runner can be put on: it has what the runner's layer needs, no runner of its own, and no
// entrypoint that would stand in the way of ours.
func prepare() []string {
	return []string{
		"ENTRYPOINT []",
		"RUN rm -rf " + runnerHome + " && if ! command -v curl || ! command -v tar || ! command -v gzip || ! command -v zstd; then" +
			" if command -v apt-get; then apt-get update &&" +
			" DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends ca-certificates curl gzip tar zstd;" +
			" elif command -v dnf; then dnf install -y ca-certificates curl gzip tar zstd;" +
			" else echo 'the image must have curl, tar, gzip and zstd, or apt-get or dnf' >&2; exit 1; fi; fi",
	}
}

func runner(r run.RunnerRelease) []string {
	return []string{
		"ENV ACTIONS_RUNNER_HOME=" + runnerHome,
		fmt.Sprintf("RUN mkdir -p %[1]s && cd %[1]s && curl -fsSL --retry 3 -o runner.tar.gz '%[2]s'"+
			" && echo '%[3]s  runner.tar.gz' | sha256sum -c - && tar xzf runner.tar.gz && rm runner.tar.gz"+
			" && ./bin/installdependencies.sh && rm -rf /var/lib/apt/lists/*", runnerHome, r.URL, r.SHA256),
	}
}

// Key tells the image from others, whatever runner is put on it, by 16 hexadecimal digits.
func Key(i run.Image) string { return hash(i) }

func hash(v any) string {
	text, err := json.Marshal(v)
	if err != nil {
		panic(fmt.Sprintf("fleet: %v", err)) // It has texts only.
	}
	sum := sha256.Sum256(text)
	return hex.EncodeToString(sum[:keyBytes])
}
