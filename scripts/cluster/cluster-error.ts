export type ClusterErrorCode =
  | "BUILD_FAILED"
  | "COMMAND_FAILED"
  | "COMPONENT_FAILED"
  | "CONTEXT_REFUSED"
  | "DISK_FULL"
  | "IMAGE_INPUT_MISSING"
  | "LOCKED"
  | "NAME_INVALID"
  | "NOT_RUNNING"
  | "NO_FREE_PORT"
  | "OPTION_INVALID"
  | "REGISTRY_REFUSED"
  | "ROOT_REQUIRED"
  | "TEARDOWN_INCOMPLETE"
  | "TIMED_OUT"
  | "TOOL_MISSING";

/** Every failure a user can meet here. The message ends with what to do next; `code` is stable, so callers never match the text. */
export class ClusterError extends Error {
  readonly code: ClusterErrorCode;

  constructor(code: ClusterErrorCode, message: string, options?: ErrorOptions) {
    super(message, options);
    this.name = "ClusterError";
    this.code = code;
  }
}
