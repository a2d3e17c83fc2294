import { z } from "zod";
import type { LocalCluster } from "../../scripts/cluster/cluster.ts";
import { command } from "../../scripts/cluster/command.ts";

const status = z.object({ header: z.object({ member_id: z.string(), revision: z.string() }) });

/** The cluster's etcd by its own HTTP gateway, which only the cluster's network reaches. */
export class Etcd {
  readonly #cluster: LocalCluster;

  constructor(cluster: LocalCluster) {
    this.#cluster = cluster;
  }

  /** Forgets all history: whoever resumes from any earlier revision is told 410. */
  async compact(): Promise<void> {
    const { revision } = await this.#header();
    await this.#post("/v3/kv/compaction", { revision, physical: true });
  }

  /** As when its file has reached its quota: whatever would grow it is refused. */
  async setNoSpace(full: boolean): Promise<void> {
    const { member_id } = await this.#header();
    const action = full ? "ACTIVATE" : "DEACTIVATE";
    await this.#post("/v3/maintenance/alarm", { action, memberID: member_id, alarm: "NOSPACE" });
  }

  async #header() {
    return status.parse(await this.#post("/v3/maintenance/status", {})).header;
  }

  async #post(path: string, body: object): Promise<unknown> {
    const program = `
      const answer = await fetch("http://127.0.0.1:2379${path}", { method: "POST", body: process.argv[1] });
      if (!answer.ok) throw new Error(await answer.text());
      console.log(await answer.text());`;
    const inside = [`--net=/run/netns/${this.#cluster.name}`, process.execPath, "--input-type=module", "--eval", program];
    return JSON.parse(await command("nsenter", [...inside, JSON.stringify(body)]));
  }
}
