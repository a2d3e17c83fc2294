export interface PublishOptions {
  /** What tells it from other publishes of the same handler: the same for every attempt. */
  readonly id?: string;
  readonly headers?: Readonly<Record<string, string>>;
}

export interface Published {
  readonly stream: string;
  readonly seq: number;
  /** It was stored before: by a former attempt, or by a publish whose answer was lost. */
  readonly duplicate: boolean;
}

/** What a message is published as. */
export interface Outgoing {
  readonly subject: string;
  readonly headers: Readonly<Record<string, string>>;
  readonly body: Uint8Array | string;
}
