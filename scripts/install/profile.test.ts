import { describe, expect, it } from "vitest";
import { historyProblems } from "../../libs/contract/history-lint.ts";
import { dispatchConfig } from "../../libs/contract/queue-config.ts";
import { contextProfile, localProfile, testProfile } from "./profile.ts";

const HISTORY_MS = 30 * 86_400_000;

describe.each([
  ["the local profile", localProfile],
  ["the profile of other clusters", contextProfile],
  ["the tests' profile", testProfile],
])("%s", (_name, { values, extraNamespaces }) => {
  it("has queues and templates that the services accept, and that history outlasts", () => {
    const { queues = {}, templates = {} } = values;
    const { data, error } = dispatchConfig.safeParse({ queues, templates });
    expect(error).toBeUndefined();
    expect(historyProblems({ queues: data?.queues ?? {} }, HISTORY_MS)).toEqual([]);
  });

  it("gives the chart the namespaces that the installer makes", () => {
    expect(values["jobs"]).toMatchObject({ namespace: "millrace-jobs" });
    const named = (values["jobs"] as { readonly extraNamespaces?: readonly string[] }).extraNamespaces ?? [];
    expect(named).toEqual(extraNamespaces);
  });
});
