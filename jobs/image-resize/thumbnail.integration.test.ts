import { spawnSync } from "node:child_process";
import { join } from "node:path";
import sharp from "sharp";
import { expect, it } from "vitest";

const plain = (width: number, height: number) => sharp({ create: { width, height, channels: 3, background: "#c04020" } });

// In a process of its own, whose memory is limited once it runs. A GIF is not among them: its decoder's library ends the process itself.
it.each(["jpeg", "png", "webp"] as const)("a %s for which the system has no memory now is tried again", async (format) => {
  const side = 6_000;
  const options = { jpeg: { progressive: true }, png: { progressive: true, compressionLevel: 1 }, webp: { effort: 0 } };
  const input = await plain(side, side).toFormat(format, options[format]).toBuffer();
  const small = await plain(9, 9).toFormat(format).toBuffer();
  const script = `
    import { execFileSync } from "node:child_process";
    import { readFileSync } from "node:fs";
    import { buffer } from "node:stream/consumers";
    import { thumbnail } from ${JSON.stringify(join(import.meta.dirname, "thumbnail.ts"))};
    const bytes = await buffer(process.stdin);
    // Its threads have their stacks before there is a limit.
    await thumbnail(Buffer.from("${small.toString("base64")}", "base64"), { maxPixels: 100 });
    const usedKiB = Number(/VmSize:\\s+(\\d+)/.exec(readFileSync("/proc/self/status", "utf8"))?.[1]);
    execFileSync("prlimit", ["--pid", String(process.pid), "--as=" + (usedKiB + 50_000) * 1024]);
    const ended = await thumbnail(bytes, { maxPixels: 1e9 }).catch(({ code, message }) => ({ code, message }));
    process.stdout.write(JSON.stringify(ended));
  `;
  const { stdout, stderr } = spawnSync(process.execPath, ["--input-type=module", "-e", script], { input, encoding: "utf8" });
  expect({ ended: stdout === "" ? "" : JSON.parse(stdout), stderr }).toEqual({
    ended: { code: "RESIZE_FAILED", message: expect.stringMatching(/memory|thread/) },
    stderr: "",
  });
});
