import { fileURLToPath } from "node:url";
import { writeChart } from "./helm/chart-files.ts";
import { millrace } from "./millrace.ts";

/** `npm run chart`: writes the chart that is committed as charts/millrace. */
await writeChart(fileURLToPath(new URL("../charts/millrace", import.meta.url)), millrace());
