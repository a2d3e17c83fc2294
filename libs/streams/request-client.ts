import type { NatsConnection } from "@nats-io/transport-node";
import { NoRespondersError, PermissionViolationError, RequestError, TimeoutError } from "@nats-io/transport-node";
import { errorText, MillraceError } from "../contract/errors.ts";
import {
  type AnswerOf,
  REQUEST_TIMEOUT_MS,
  REQUESTS,
  type RequestOf,
  type RequestOp,
  refusal,
  requestSubject,
} from "../contract/requests.ts";

/** The monitor says by itself that it could not in time; this is for the one that died over it. */
const CLIENT_TIMEOUT_MS = REQUEST_TIMEOUT_MS + 3_000;

/**
 * Asks a monitor.
 * @throws MillraceError with the monitor's code; `MONITOR_UNREACHABLE`, `NOT_PERMITTED`, `ANSWER_INVALID`
 */
export async function ask<Op extends RequestOp>(
  connection: NatsConnection,
  op: Op,
  request: RequestOf<Op>,
): Promise<AnswerOf<Op>> {
  const subject = requestSubject(op);
  const message = await connection
    .request(subject, JSON.stringify(request), { timeout: CLIENT_TIMEOUT_MS })
    .catch((error: unknown) => {
      throw unanswered(error, subject);
    });
  const answer: unknown = JSON.parse(message.string());
  const refused = refusal.safeParse(answer);
  if (refused.success) throw new MillraceError(refused.data.code, refused.data.message);
  const parsed = REQUESTS[op].answer.safeParse(answer);
  if (!parsed.success) {
    throw new MillraceError(
      "ANSWER_INVALID",
      "the monitor's answer cannot be read; is this command as new as the installation? Use the version of its chart",
    );
  }
  return parsed.data as AnswerOf<Op>;
}

function unanswered(error: unknown, subject: string): MillraceError {
  const cause = error instanceof RequestError && error.cause !== undefined ? error.cause : error;
  if (cause instanceof PermissionViolationError) {
    return new MillraceError("NOT_PERMITTED", `your NATS user may not publish to ${subject}; ask whoever gives the permissions`);
  }
  if (cause instanceof NoRespondersError || (error instanceof RequestError && error.isNoResponders())) {
    return new MillraceError("MONITOR_UNREACHABLE", "no monitor answers: is one running and ready? See its pods and /readyz");
  }
  if (cause instanceof TimeoutError) {
    return new MillraceError("MONITOR_UNREACHABLE", "the monitor did not answer in time; ask again, then see its log");
  }
  return new MillraceError("MONITOR_UNREACHABLE", `the request did not reach a monitor: ${errorText(error)}`, { cause: error });
}
