"use strict";
(() => {
  const AMOUNT = "49.90", CURRENCY = "USD", PATIENCE_MS = 30000;
  const shop = document.documentElement.dataset;
  const query = new URLSearchParams(location.search);
  const click = query.get("click_id");
  const at = (id) => document.getElementById(id);
  // Whatever came from outside becomes text, never markup.
  const make = (name, text, kind) => {
    const made = document.createElement(name);
    made.textContent = text;
    if (kind) made.className = kind;
    return made;
  };

  if (click) {
    at("ref").textContent = query.get("ref") || "of an affiliate";
    at("click").textContent = click;
    at("tracked").hidden = false;
  } else {
    const link = `${shop.edge}/r/${encodeURIComponent(shop.code)}`;
    at("link").textContent = link;
    at("link").href = link;
    at("untracked").hidden = false;
  }

  const show = (order) => {
    const { conversion, commissions } = order;
    at("state").textContent = commissions.length
      ? `${conversion.affiliate} earned a commission:`
      : `The conversion is ${conversion.status}.`;
    const list = commissions.map(({ commission, explanation }) => {
      const box = make("div", "", "commission");
      const sum = make("p", `${commission.amount} ${commission.currency}`, "amount");
      sum.append(make("span", commission.status, `badge ${commission.status}`));
      const steps = document.createElement("ol");
      for (const step of explanation.steps) {
        const item = make("li", `${step.text} `);
        item.append(make("span", step.step.replaceAll("_", " "), "step"));
        steps.append(item);
      }
      box.append(sum, make("h2", "How it came about"), steps);
      return box;
    });
    at("commissions").replaceChildren(...list);
  };

  const poll = async (number, until) => {
    try {
      const answer = await fetch(`/demo/orders/${encodeURIComponent(number)}`, { cache: "no-store" });
      if (answer.ok) return show(await answer.json());
    } catch { /* The server may be starting again: ask once more. */ }
    if (Date.now() > until) {
      at("state").textContent = click
        ? "Nothing was settled yet. Look at /v1/rejected and /v1/held."
        : "Nobody is paid for this order: it came without a click. It stands in /v1/rejected.";
      return;
    }
    setTimeout(poll, 300, number, until);
  };

  at("buy").addEventListener("click", () => {
    at("buy").disabled = true;
    const number = `demo-${Date.now().toString(36)}-${Math.random().toString(36).slice(2, 8)}`;
    const fields = new URLSearchParams({ external_id: number, amount: AMOUNT, currency: CURRENCY });
    if (click) fields.set("click_id", click);
    const pixel = new Image(1, 1);
    pixel.alt = "";
    pixel.src = `${shop.edge}/pixel/${encodeURIComponent(shop.program)}.gif?${fields}`;
    at("order").append(pixel);
    at("number").textContent = number;
    at("pixel").textContent = pixel.src;
    at("order").hidden = false;
    poll(number, Date.now() + (click ? PATIENCE_MS : PATIENCE_MS / 6));
  });
})();
