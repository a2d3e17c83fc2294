export {
  type HandlerRun,
  type RunHandlerOptions,
  runHandler,
  type TestMessage,
  type TestOutcome,
} from "./run-handler.ts";
export {
  createTestContext,
  type TestContext,
  type TestContextOptions,
  type TestLine,
  type TestPublication,
} from "./test-context.ts";
