import type { DispatchConfig } from "../../libs/contract/queue-config.ts";
import type { Installation } from "./installation.ts";

type Entries = Readonly<Record<string, unknown>>;
/** As it is written: durations are text, defaults are left out. */
type WrittenConfig = Readonly<Record<keyof DispatchConfig, Entries>>;

/** The release's ConfigMap, changed as an operator's `kubectl edit` does; services take a change up without a restart. */
export class LiveConfig {
  readonly #millrace: Installation;
  readonly #before: string;
  #changes: Promise<void> = Promise.resolve();

  private constructor(millrace: Installation, before: string) {
    this.#millrace = millrace;
    this.#before = before;
  }

  static async open(millrace: Installation): Promise<LiveConfig> {
    return new LiveConfig(millrace, await read(millrace));
  }

  /** One after the other: tests that run at the same time may each change their part. */
  change(edit: (config: WrittenConfig) => WrittenConfig): Promise<void> {
    this.#changes = this.#changes.then(async () => {
      await write(this.#millrace, JSON.stringify(edit(JSON.parse(await read(this.#millrace)))));
    });
    return this.#changes;
  }

  /** As it was found. */
  async restore(): Promise<void> {
    await write(this.#millrace, this.#before);
  }
}

/** Entries without one of them. */
export function without(entries: Entries, name: string): Entries {
  return Object.fromEntries(Object.entries(entries).filter(([each]) => each !== name));
}

const configMap = ({ names }: Installation): string[] => ["-n", names.namespace, "configmap", "millrace-config"];

async function read(millrace: Installation): Promise<string> {
  const found = JSON.parse(await millrace.kubectl(["get", ...configMap(millrace), "-o", "json"]));
  return found.data["config.json"];
}

async function write(millrace: Installation, text: string): Promise<void> {
  await millrace.kubectl(["patch", ...configMap(millrace), "--patch", JSON.stringify({ data: { "config.json": text } })]);
}
