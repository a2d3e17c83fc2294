export interface GoModule {
  readonly path: string;
  readonly version: string;
}

export interface GoBuildModule {
  readonly name: string;
  readonly goVersion: string;
  /** Kubernetes' own behaviour switches (`//go:debug` defaults) follow the main module's go.mod, which here is ours. */
  readonly godebugDefault?: string;
  readonly require: GoModule;
  readonly replace: readonly GoModule[];
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

/** v1.36.3 of Kubernetes is v0.36.3 of each staging module. */
export function stagingVersion(kubernetesVersion: string): string {
  return kubernetesVersion.replace(/^v1\./, "v0.");
}

export function renderGoMod(module: GoBuildModule): string {
  const lines = [`module ${module.name}`, "", `go ${module.goVersion}`, ""];
  if (module.godebugDefault !== undefined) lines.push(`godebug default=${module.godebugDefault}`, "");
  lines.push(`require ${module.require.path} ${module.require.version}`, "");
  if (module.replace.length > 0) {
    lines.push("replace (", ...module.replace.map(({ path, version }) => `\t${path} => ${path} ${version}`), ")", "");
  }
  lines.push("tool (", ...module.packages.map((path) => `\t${path}`), ")", "");
  return lines.join("\n");
}
