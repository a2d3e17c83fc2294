import { pino } from "pino";

/** An event name (`job.created`) with fields. No bodies, no URLs with queries, no env values ever go in. */
export interface Log {
  debug(event: string, fields?: Readonly<Record<string, unknown>>): void;
  info(event: string, fields?: Readonly<Record<string, unknown>>): void;
  warn(event: string, fields?: Readonly<Record<string, unknown>>): void;
  error(event: string, fields?: Readonly<Record<string, unknown>>): void;
}

/** JSON lines on stdout. An `error` field is written with its stack and causes. */
export function createLog(options: { readonly service: string; readonly level: string; readonly pod: string }): Log {
  const logger = pino({
    level: options.level,
    base: { service: options.service, pod: options.pod },
    messageKey: "event",
    timestamp: pino.stdTimeFunctions.isoTime,
    formatters: { level: (label) => ({ level: label }) },
    serializers: { error: pino.stdSerializers.err },
  });
  return {
    debug: (event, fields = {}) => logger.debug(fields, event),
    info: (event, fields = {}) => logger.info(fields, event),
    warn: (event, fields = {}) => logger.warn(fields, event),
    error: (event, fields = {}) => logger.error(fields, event),
  };
}

export const silentLog: Log = { debug() {}, info() {}, warn() {}, error() {} };
