export type ClusterErrorCode =
  | "BUILD_FAILED"
  | "COMMAND_FAILED"
  | "COMPONENT_FAILED"
  | "IMAGE_INPUT_MISSING"
  | "LOCKED"
  | "NAME_INVALID"
  | "NOT_RUNNING"
  | "NO_FREE_PORT"
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
