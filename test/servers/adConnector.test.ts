import { readFileSync } from "node:fs";
import { join } from "node:path";
import { describe } from "vitest";
import { DirectorySandbox } from "../../sandbox/directory/sandbox.ts";
import { sambaAvailable, startSamba } from "../../sandbox/samba/samba.ts";
import { activeDirectoryConformance, type OpenDirectory } from "../conformance/activeDirectory.ts";
import { connectorConformance } from "../conformance/connector.ts";
import { adTarget, type DirectoryUnderTest } from "../support/activeDirectory.ts";

const root = join(import.meta.dirname, "..", "..", ".test");
const available = sambaAvailable();

async function openSamba(name: string, readDeleted: boolean): Promise<OpenDirectory> {
  const samba = await startSamba({ dir: join(root, name), cacheDir: join(root, "samba-cache"), readDeleted });
  await samba.reset();
  const { dn: bindDn, password: bindPassword } = samba.serviceAccount;
  return {
    directory: { ...samba, bindDn, bindPassword },
    ca: readFileSync(samba.caFile, "utf8"),
    manyMembers: 1_600,
    globalCatalogUrl: samba.url.replace(":636", ":3269"),
    reset: () => samba.reset(),
    close: () => samba.stop(),
  };
}

async function openSandbox(readDeleted: boolean): Promise<OpenDirectory> {
  const sandbox = await DirectorySandbox.start({ readDeleted });
  return {
    directory: sandbox,
    ca: sandbox.ca,
    derivedUsers: false,
    manyMembers: 5_100,
    close: () => sandbox.close(),
  };
}

/** The administrator may replicate changes, so his imports use DirSync. */
const asReplicator = (directory: DirectoryUnderTest): DirectoryUnderTest => ({
  ...directory,
  bindDn: directory.adminDn,
  bindPassword: directory.adminPassword,
});

describe.skipIf(!available.ok)(available.ok ? "Samba" : `Samba: ${available.reason}`, () => {
  connectorConformance("AD on Samba", async () => adTarget(await openSamba("ad-connector", true)));
  connectorConformance("AD on Samba by DirSync", async () => {
    const samba = await openSamba("ad-connector", true);
    return adTarget({ ...samba, directory: asReplicator(samba.directory) });
  });
  activeDirectoryConformance("AD on Samba", () => openSamba("ad-connector-plain", false));
});

connectorConformance("AD on the directory sandbox", async () => adTarget(await openSandbox(true)));
connectorConformance("AD on the directory sandbox by DirSync", async () => {
  const sandbox = await openSandbox(true);
  return adTarget({ ...sandbox, directory: asReplicator(sandbox.directory) });
});
activeDirectoryConformance("AD on the directory sandbox", () => openSandbox(false));
