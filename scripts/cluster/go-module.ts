export interface GoModule {
  readonly path: string;
  readonly version: string;
}

/** `when` limits it to one required version; without it all versions are replaced. */
export interface Replacement {
  readonly path: string;
  readonly when?: string;
  readonly by: GoModule;
}

export interface GoBuildModule {
  readonly name: string;
  readonly goVersion: string;
  /** Kubernetes' own behaviour switches (`//go:debug` defaults) follow the main module's go.mod, which here is ours. */
  readonly godebugDefault?: string;
  readonly require: GoModule;
  readonly replace: readonly Replacement[];
  readonly packages: readonly string[];
}

/**
 * Kubernetes requires its staging modules at v0.0.0 and replaces them by folders of its own repository; outside of it they
 * have to be named at their published version. A module at any other version (kube-openapi) is no staging module.
 */
export function stagingModules(kubernetesGoMod: string): string[] {
  return kubernetesGoMod
    .split("\n")
    .map((line) => line.replace(/^require\s+/, "").trim())
    .flatMap((line) => {
      const [path, version, ...rest] = line.split(/\s+/);
      return path?.startsWith("k8s.io/") === true && version === "v0.0.0" && rest[0] !== "=>" ? [path] : [];
    });
}

/** The `replace` lines of a go.mod that lead to another module; those that lead to a folder mean nothing outside of its repository. */
export function moduleReplacements(goMod: string): Replacement[] {
  return goMod.split("\n").flatMap((line) => {
    const [left = "", right] = line
      .replace(/\/\/.*$/, "")
      .replace(/^\s*replace\s/, "")
      .split("=>");
    const [path = "", when] = left.trim().split(/\s+/);
    const [target = "", version] = (right ?? "").trim().split(/\s+/);
    if (version === undefined) return [];
    return [{ path, ...(when === undefined ? {} : { when }), by: { path: target, version } }];
  });
}

/** v1.36.3 of Kubernetes is v0.36.3 of each staging module. */
export function stagingVersion(kubernetesVersion: string): string {
  return kubernetesVersion.replace(/^v1\./, "v0.");
}

export function renderGoMod(module: GoBuildModule): string {
  const lines = [`module ${module.name}`, "", `go ${module.goVersion}`, ""];
  if (module.godebugDefault !== undefined) lines.push(`godebug default=${module.godebugDefault}`, "");
  lines.push(`require ${module.require.path} ${module.require.version}`, "");
  if (module.replace.length > 0) {
    lines.push("replace (", ...module.replace.map(renderReplacement), ")", "");
  }
  lines.push("tool (", ...module.packages.map((path) => `\t${path}`), ")", "");
  return lines.join("\n");
}

function renderReplacement({ path, when, by }: Replacement): string {
  return `\t${[path, when, "=>", by.path, by.version].filter((part) => part !== undefined).join(" ")}`;
}
