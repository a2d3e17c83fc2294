import { expect, it } from "vitest";
import { chooseKind } from "./choose-target.ts";

const nothing = { context: undefined, localExists: false, dockerAnswers: false, kindInstalled: false };
const docker = { ...nothing, dockerAnswers: true, kindInstalled: true };

it.each([
  ["nothing is there", nothing, "local"],
  ["a Docker engine answers and kind is installed", docker, "kind"],
  ["a Docker engine answers and kind is not installed", { ...docker, kindInstalled: false }, "local"],
  ["kind is installed and no engine answers", { ...docker, dockerAnswers: false }, "local"],
  ["a local cluster was made before Docker came", { ...docker, localExists: true }, "local"],
  ["a context is named, whatever else is there", { ...docker, localExists: true, context: "work" }, "context"],
] as const)("when %s: %s → %s", (_, found, kind) => {
  expect(chooseKind(found)).toBe(kind);
});
