#!/usr/bin/env node
import { existsSync } from "node:fs";

// From the checkout the sources run by type stripping; the published package carries a bundle instead.
const source = new URL("../src/main.ts", import.meta.url);
await import(existsSync(source) ? source.href : new URL("../dist/main.js", import.meta.url).href);
