/**
 * A bill of materials (CycloneDX 1.6) of what is deployed, from the lock file alone: the same lock file gives the same
 * bytes, and no registry is asked. https://cyclonedx.org/docs/1.6/json/
 */

/** package-lock.json: `packages` has every installed folder, "" is the project itself. */
export interface LockFile {
  readonly packages: Readonly<Record<string, LockedPackage>>;
}

export interface LockedPackage {
  /** Only development needs it. */
  readonly dev?: boolean;
  readonly optional?: boolean;
  readonly version?: string;
  readonly license?: string;
  /** Subresource integrity: `sha512-` and base64. */
  readonly integrity?: string;
  readonly dependencies?: Readonly<Record<string, string>>;
  readonly optionalDependencies?: Readonly<Record<string, string>>;
  readonly peerDependencies?: Readonly<Record<string, string>>;
  readonly devDependencies?: Readonly<Record<string, string>>;
}

/** @param lock without what only development needs */
export function billOfMaterials(project: { name: string; version: string }, lock: LockFile): object {
  const folders = Object.keys(lock.packages)
    .filter((folder) => folder !== "")
    .sort();
  const root = purlOf(project.name, project.version);
  // Two folders may hold the same package: it is one component.
  const components = new Map(
    folders.map((folder) => [refOf(lock, folder), componentOf(folder, lock.packages[folder]!)]),
  );
  const dependsOn = new Map<string, Set<string>>();
  for (const folder of ["", ...folders]) {
    const ref = folder === "" ? root : refOf(lock, folder);
    const needed = dependsOn.get(ref) ?? new Set();
    for (const found of neededBy(lock, folder)) needed.add(refOf(lock, found));
    dependsOn.set(ref, needed);
  }
  return {
    $schema: "http://cyclonedx.org/schema/bom-1.6.schema.json",
    bomFormat: "CycloneDX",
    specVersion: "1.6",
    version: 1,
    metadata: {
      component: { type: "application", "bom-ref": root, ...project, purl: root },
    },
    components: [...components.values()],
    dependencies: [...dependsOn].map(([ref, refs]) => ({ ref, dependsOn: [...refs].sort() })),
  };
}

function componentOf(folder: string, { version, license, integrity }: LockedPackage): object {
  const name = nameOf(folder);
  const purl = purlOf(name, version ?? "");
  const digest = /^sha512-(.+)$/.exec(integrity ?? "")?.[1];
  return {
    type: "library",
    "bom-ref": purl,
    name,
    version,
    ...(digest === undefined
      ? {}
      : { hashes: [{ alg: "SHA-512", content: Buffer.from(digest, "base64").toString("hex") }] }),
    ...(license === undefined ? {} : { licenses: [{ expression: license }] }),
    purl,
  };
}

/** The folders of what a package depends on, found as Node.js finds them: its own node_modules, then outwards. */
function neededBy({ packages }: LockFile, folder: string): string[] {
  const { dependencies, optionalDependencies, peerDependencies } = packages[folder]!;
  const names = Object.keys({ ...peerDependencies, ...optionalDependencies, ...dependencies });
  return names.flatMap((name) => {
    for (let at = folder; ; at = at.slice(0, Math.max(0, at.lastIndexOf("/node_modules/")))) {
      const candidate = at === "" ? `node_modules/${name}` : `${at}/node_modules/${name}`;
      if (packages[candidate] !== undefined) return [candidate];
      // An optional package may not be locked at all.
      if (at === "") return [];
    }
  });
}

const refOf = ({ packages }: LockFile, folder: string): string =>
  purlOf(nameOf(folder), packages[folder]!.version ?? "");
const nameOf = (folder: string): string => folder.slice(folder.lastIndexOf("node_modules/") + 13);
/** https://github.com/package-url/purl-spec: the scope's @ is percent-encoded. */
const purlOf = (name: string, version: string): string => `pkg:npm/${name.replace("@", "%40")}@${version}`;
