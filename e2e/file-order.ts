import { BaseSequencer, type TestSpecification } from "vitest/node";

const LAST = "node-loss";

/** The end-to-end files one after the other in the same order on every machine; the lost node last. All else as vitest does it. */
export class FileOrder extends BaseSequencer {
  override async sort(files: TestSpecification[]): Promise<TestSpecification[]> {
    if (files.some(({ project }) => !project.name.startsWith("e2e"))) return super.sort(files);
    const place = ({ project, moduleId }: TestSpecification): string =>
      `${project.name} ${moduleId.includes(LAST) ? 1 : 0} ${moduleId}`;
    return files.toSorted((a, b) => (place(a) < place(b) ? -1 : 1));
  }
}
