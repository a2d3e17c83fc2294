import { describe, expect, it } from "vitest";
import { isLocalContext, requireConsent } from "./consent.ts";

const none = (): boolean => false;

describe("isLocalContext", () => {
  it.each(["kind-millrace", "minikube", "docker-desktop"])("knows %s by its name", (context) => {
    expect(isLocalContext(context, none)).toBe(true);
  });

  it.each(["prod", "my-kind-cluster", "minikube-prod", "kind"])("takes %s for somebody's", (context) => {
    expect(isLocalContext(context, none)).toBe(false);
  });

  it("knows our own clusters", () => {
    expect(isLocalContext("millrace", (context) => context === "millrace")).toBe(true);
  });
});

describe("requireConsent", () => {
  const asked = (answer: string) => ({
    questions: [] as string[],
    ask(question: string): Promise<string> {
      this.questions.push(question);
      return Promise.resolve(answer);
    },
  });

  it("asks nobody about a cluster of this machine, nor after --yes", async () => {
    const person = asked("no");
    const ask = (question: string): Promise<string> => person.ask(question);
    await requireConsent({ context: "minikube", given: false, ask, isOurs: none });
    await requireConsent({ context: "prod", given: true, ask, isOurs: none });
    expect(person.questions).toEqual([]);
  });

  it("goes on only when the context's name is typed", async () => {
    await requireConsent({ context: "prod", given: false, ask: () => Promise.resolve("prod\n"), isOurs: none });
    for (const answer of ["", "y", "yes", "production"]) {
      const consent = requireConsent({ context: "prod", given: false, ask: () => Promise.resolve(answer), isOurs: none });
      await expect(consent).rejects.toMatchObject({ code: "CONTEXT_REFUSED" });
    }
  });

  it("refuses where nobody can be asked, and says how a script says yes", async () => {
    const consent = requireConsent({ context: "prod", given: false, ask: undefined, isOurs: none });
    await expect(consent).rejects.toThrow(/prod .*--yes/);
  });
});
