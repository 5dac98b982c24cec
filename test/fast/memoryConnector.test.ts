import { ConnectorError } from "../../src/engine/ports/connector.ts";
import { connectorConformance, type Flaw } from "../conformance/connector.ts";
import { MemoryConnector, MemoryDirectory } from "../support/memoryConnector.ts";

const ou = "OU=Guests,DC=corp,DC=example";
const noTls = "it is reached by no network";

connectorConformance(
  "memory",
  async () => {
    const directory = new MemoryDirectory({
      objectType: "user",
      attributes: { displayName: "string", sAMAccountName: "string", adminDescription: "string" },
      unique: ["sAMAccountName"],
      stamp: "adminDescription",
    });
    const unreachable = new ConnectorError("unreachable", "MEMORY_URL does not answer.");
    return {
      objectType: "user",
      outOfScope: "movedOutOfScope",
      connect: (flaw?: Flaw) => new MemoryConnector(directory, {}, flaw === undefined ? null : unreachable),
      fixtures: {
        add: async (displayName) =>
          directory.add(`CN=${displayName} ${directory.version},${ou}`, { displayName }).anchor,
        change: async (anchor, displayName) => directory.change(anchor, { displayName }),
        delete: async (anchor) => directory.remove(anchor),
        restore: async (anchor) => directory.restore(anchor),
        moveOut: async (anchor) => directory.remove(anchor, "outOfScope"),
        read: async (anchor) => {
          const object = directory.objects.get(anchor);
          if (object === undefined || object.gone === "deleted") return undefined;
          return Object.fromEntries(
            Object.entries(object.attributes).map(([name, v]) => [name, [String(v)]]),
          );
        },
        newAccount: (name) => ({
          dn: `CN=${name},${ou}`,
          renamedDn: `CN=${name} Renamed,${ou}`,
          attributes: { displayName: name, sAMAccountName: name, adminDescription: `User_${name}` },
        }),
        occupy: async ({ dn }) => directory.add(dn, { displayName: "Foreign" }).anchor,
        expired: async (watermark) => {
          directory.honouredFrom = ++directory.version;
          return watermark;
        },
      },
      close: async () => undefined,
    };
  },
  {
    "a wrong password is told as such": noTls,
    "an untrusted certificate is told as such": noTls,
    "a wrong server name is told as such": noTls,
  },
);
