import { readFileSync } from "node:fs";
import { join } from "node:path";
import { describe } from "vitest";
import { sambaAvailable, startSamba } from "../../sandbox/samba/samba.ts";
import { connectorConformance } from "../conformance/connector.ts";
import { adTarget, type DirectoryUnderTest } from "../support/activeDirectory.ts";

const root = join(import.meta.dirname, "..", "..", ".test");
const available = sambaAvailable();

describe.skipIf(!available.ok)(available.ok ? "Samba" : `Samba: ${available.reason}`, () => {
  connectorConformance("AD on Samba", async () => {
    const { directory, ca, stop } = await openSamba("ad-connector");
    return adTarget(directory, ca, stop);
  });
});

async function openSamba(name: string, options: { readonly readDeleted?: boolean } = {}) {
  const samba = await startSamba({ dir: join(root, name), cacheDir: join(root, "samba-cache"), ...options });
  await samba.reset();
  const directory: DirectoryUnderTest = {
    ...samba,
    bindDn: samba.serviceAccount.dn,
    bindPassword: samba.serviceAccount.password,
  };
  return { directory, ca: readFileSync(samba.caFile, "utf8"), stop: () => samba.stop() };
}
