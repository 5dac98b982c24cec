/** What people do to guests and accounts; nothing where the guest or account is not there in the way it needs. */
import { reference } from "../../src/engine/core/values.ts";
import { type EngineWorld, guestId, guestOu } from "../support/engineWorld.ts";
import { type Edit, guestsMax } from "./history.ts";

export function applyEdit(world: EngineWorld, edit: Edit, number: number): void {
  const { guests, accounts, now } = world;
  const id = guestId(number);
  const guest = guests.objects.get(id);
  const here = guest !== undefined && guest.gone === null;
  const [account] = world.accountsOf(id);
  const name = (begin: string) => here && guests.change(id, { displayName: `${begin} ${now}` });
  switch (edit) {
    case "add":
    case "invite":
      if (guest === undefined)
        world.addGuest(number, edit === "invite" ? { externalUserState: "PendingAcceptance" } : {});
      return;
    case "accept":
      if (here) guests.change(id, { externalUserState: "Accepted" });
      return;
    case "rename":
      name("Name");
      return;
    case "vip":
      name("VIP");
      return;
    case "leave":
      name("Leaver");
      return;
    case "newMail":
      if (here) guests.change(id, { mail: `${now}@example.org` });
      return;
    case "newManager": {
      const manager = guestId((number + 1 + (now % (guestsMax - 1))) % guestsMax);
      if (here && guests.objects.has(manager)) guests.change(id, { manager: reference(manager) });
      return;
    }
    case "newNotes":
      if (here)
        guests.change(id, {
          notes: guest.attributes.notes === undefined ? `${now} `.repeat(5_000) : undefined,
        });
      return;
    case "block":
    case "unblock":
      if (here) guests.change(id, { accountEnabled: edit === "unblock" });
      return;
    case "softDelete":
      if (here) guests.remove(id, "softDeleted");
      return;
    case "turnMember":
      if (here) guests.remove(id, "outOfScope");
      return;
    case "turnGuest":
      if (guest?.gone === "outOfScope") guests.restore(id);
      return;
    case "purge":
      if (guest?.gone === "softDeleted") guests.remove(id, "deleted");
      return;
    case "restore":
      if (guest?.gone === "softDeleted") guests.restore(id);
      return;
    case "accountByHand": {
      const dn = `CN=By hand ${number},${guestOu}`;
      if (accounts.holderOf(dn, {}) === undefined) accounts.add(dn, { displayName: "Made by hand" });
      return;
    }
    case "accountMoved": {
      const dn = `CN=${id},OU=Moved,${guestOu}`;
      if (account !== undefined && accounts.holderOf(dn, {}) === undefined)
        accounts.rename(account.anchor, dn);
      return;
    }
    case "accountChanged":
      if (account !== undefined) accounts.change(account.anchor, { displayName: "Changed by hand" });
      return;
    case "accountDeleted":
      if (account !== undefined) accounts.remove(account.anchor);
      return;
    case "accountEnabled":
      if (account !== undefined) accounts.change(account.anchor, { userAccountControl: 262656n });
      return;
  }
}
