import { command } from "../cluster/command.ts";

/** An engine on another machine that has gone away makes `docker info` wait for minutes. */
const DOCKER_TIMEOUT_MS = 5_000;

/** The client alone is on many machines: only an engine that answers counts. */
export async function dockerAnswers(): Promise<boolean> {
  const version = await command("docker", ["info", "--format", "{{.ServerVersion}}"], { timeoutMs: DOCKER_TIMEOUT_MS }).catch(
    () => "",
  );
  return version.trim() !== "";
}
