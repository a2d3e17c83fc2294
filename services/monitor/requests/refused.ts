import type { RefusalCode } from "../../../libs/contract/requests.ts";

/** A request that is understood and not done: the expected "no", with what to do instead. */
export class RequestRefused extends Error {
  readonly code: RefusalCode;

  constructor(code: RefusalCode, message: string) {
    super(message);
    this.name = "RequestRefused";
    this.code = code;
  }
}
