/* The explorer's page. Built with Preact; the data are from model.js, what is chosen from state.js. */
"use strict";

(() => {
  const { h, render } = preact;
  const { useState, useEffect, useLayoutEffect, useMemo, useRef } = preactHooks;
  const html = htm.bind(h);
  const model = accentExplorer;
  const TOP = 10;
  const FOUND = { attention: "attention.html", pure_attention: "attention.html" }; // the others:
  const BY_INFLUENCE = "accent.html#equation-accent-eq-closed";
  const CHECKED = "verification.html#equation-verification-eq-effect";
  const calm = matchMedia("(prefers-reduced-motion: reduce)");

  const decimals = (index, value, places = 3) => (value / 10 ** index.digits).toFixed(places);
  const signed = (index, value) => `${value < 0 ? "−" : "+"}${decimals(index, Math.abs(value))}`;
  const plain = (index, value) => decimals(index, value).replace("-", "−");
  const counted = (n, one) => `${n} ${one}${n === 1 ? "" : "s"}`;

  /** Which recommender, which user: by number, or by a film that she acted on. */
  function Controls({ index, chosen, choose }) {
    const [seen, setSeen] = useState(null);
    const [film, setFilm] = useState(null);
    const codes = useMemo(() => new Map(index.films.map((_, code) => [model.filmName(index, code), code])), [index]);
    const pickFilm = (event) => {
      const code = codes.get(event.target.value);
      setFilm(code === undefined ? null : code);
      if (code !== undefined) model.loadSeen().then(setSeen);
    };
    const pickUser = (event) => {
      const id = Number(event.target.value);
      const near = [...index.users].sort((one, other) => Math.abs(one - id) - Math.abs(other - id)).slice(0, 3);
      const known = `There is no user ${event.target.value} in the sample; there are ${near.join(", ")} and ${index.users.length - 3} more.`;
      event.target.setCustomValidity(index.users.includes(id) ? "" : known);
      if (event.target.reportValidity()) choose({ user: id, off: [] });
    };
    const another = () => {
      const others = index.users.filter((id) => id !== chosen.user);
      choose({ user: others[Math.floor(Math.random() * others.length)], off: [] });
    };
    // the same nodes each time: Preact then leaves these long lists alone
    const lists = useMemo(() => html`<datalist id="ex-users">${index.users.map((id) => html`<option value=${id} />`)}</datalist>
      <datalist id="ex-films">${[...codes.keys()].map((name) => html`<option value=${name} />`)}</datalist>`, [index]);
    const who = film !== null && seen ? seen[film].map((code) => index.users[code]) : null;
    return html`<form class="ex-controls" onSubmit=${(event) => event.preventDefault()}>
      <fieldset><legend>Recommender</legend>
        ${Object.entries(index.recommenders).map(([name, about]) => html`<label>
          <input type="radio" name="ex-rec" checked=${chosen.rec === name}
            onChange=${() => choose({ rec: name, by: "accent", off: [] })} /> ${about.title}</label>`)}
      </fieldset>
      <label>User <input type="text" inputmode="numeric" list="ex-users" value=${chosen.user} onChange=${pickUser} size="6" /></label>
      <label>or who rated <input type="text" list="ex-films" onChange=${pickFilm} placeholder="a film" size="22" /></label>
      ${lists}
      ${who && html`<label>${counted(who.length, "user")}:${" "}
        <select onChange=${(event) => event.target.value && choose({ user: Number(event.target.value), off: [] })}>
          <option value="">choose</option>${who.map((id) => html`<option value=${id}>${id}</option>`)}
        </select></label>`}
      <button type="button" onClick=${another}>Any other user</button>
    </form>`;
  }

  /** The explanation that is looked at, in words, and what retraining said of it. */
  function Words({ index, part, about, user, explanation, off, setOff }) {
    const name = (place) => html`<b>${model.filmName(index, part.items[place])}</b>`;
    if (explanation.failure) {
      return html`<p class="ex-words">User ${user} is shown ${name(0)} first. This search found no explanation: ${explanation.failure}.</p>`;
    }
    const films = explanation.set.map((z) => html`<i>${model.filmName(index, part.actions[z])}</i>`);
    const listed = films.flatMap((film, n) => [n === 0 ? "" : n === films.length - 1 ? " and " : ", ", film]);
    const isOff = model.setName(off) === model.setName(explanation.set);
    return html`<div class="ex-words">
      <p>User ${user} is shown ${name(0)} first. Had she not rated ${listed},
        she would have been shown ${name(explanation.to)}.</p>
      <p><${Verdict} about=${about} explanation=${explanation} full=${true} />${" "}
        <button type="button" class="ex-main" aria-pressed=${isOff} onClick=${() => setOff(isOff ? [] : explanation.set)}>
          ${isOff ? "Switch all on again" : `Switch ${films.length === 1 ? "this one" : `these ${films.length}`} off`}</button>${" "}
        <span class="ex-note"><a href=${FOUND[explanation.by] || BY_INFLUENCE}>How it was found</a> ·${" "}
          <a href=${CHECKED}>how it was checked</a></span></p>
    </div>`;
  }

  /** Whether an explanation holds, in a word with a sign, so that no colour is needed. */
  function Verdict({ about, explanation, full }) {
    if (explanation.failure) return html`<span class="ex-none">none found</span>`;
    if (explanation.holds === null) return html`<span class="ex-none">not verified</span>`;
    const times = `Retrained ${counted(about.seeds, "time")} without the set`;
    if (!explanation.holds) return html`<span class="ex-fails" title="${times}: the recommendation stays ahead.">✗ does not hold${full ? " when retrained" : ""}</span>`;
    const first = explanation.strict ? "" : ", though a third film may be first";
    return html`<span class="ex-holds" title="${times}: the replacement passes it${first}.">✓ holds${full ? ": verified by retraining" : ""}${first}</span>`;
  }

  /** What every explainer found for this user and this k. */
  function Explanations({ index, part, about, chosen, choose }) {
    return html`<h2>Every explainer's answer</h2>
      <label>Replacements from her top <select value=${chosen.k} onChange=${(event) => choose({ k: Number(event.target.value), off: [] })}>
        ${index.ks.map((k) => html`<option value=${k} selected=${k === chosen.k}>${k}</option>`)}</select></label>
      <div class="ex-scroll" tabindex="0" role="region" aria-label="Every explainer's answer"><table class="ex-table ex-answers">
      <thead><tr><th scope="col">explainer</th><th scope="col">actions</th><th scope="col">instead</th>
        <th scope="col">gap</th><th scope="col">estimated</th><th scope="col">retrained</th><th scope="col">checked</th></tr></thead>
      <tbody>${about.explainers.map(({ name, title, colour }) => {
        const one = part.explanations.find((e) => e.by === name && e.k === chosen.k);
        const found = !one.failure;
        const way = found && model.path(part, one.to, one.set);
        const after = found && model.retrained(part, one.set);
        return html`<tr class=${name === chosen.by ? "ex-chosen" : ""}>
          <th scope="row"><label><input type="radio" name="ex-by" checked=${name === chosen.by}
            onChange=${() => choose({ by: name, off: [] })} /> <span class="ex-swatch" style="background:${colour}"></span> ${title}</label></th>
          <td data-name="actions">${found ? one.set.length : "–"}</td>
          <td class="ex-film" data-name="instead">${found ? model.filmName(index, part.items[one.to]) : one.failure}</td>
          <td data-name="gap">${found ? plain(index, way[0]) : "–"}</td>
          <td data-name="estimated">${found ? plain(index, way.at(-1)) : "–"}</td>
          <td data-name="retrained">${after ? plain(index, after[0] - after[one.to]) : "–"}</td>
          <td data-name="checked"><${Verdict} about=${about} explanation=${one} /></td></tr>`;
      })}</tbody></table></div>`;
  }

  /** The candidates by their scores as they would be; what moved slides to its new place. */
  function Ranking({ index, part, off, to }) {
    const scores = useMemo(() => model.estimate(part, off), [part, off]);
    const truth = useMemo(() => (off.length ? model.retrained(part, off) : null), [part, off]);
    const order = model.ranking(scores).slice(0, TOP);
    const trueRank = truth && model.ranks(truth);
    const all = [...part.scores, ...scores, ...(truth || [])];
    const [low, high] = [Math.min(...all), Math.max(...all)];
    const width = (score) => 4 + (96 * (score - low)) / (high - low || 1);
    const listed = useRef(null);
    const tops = useRef(new Map());
    useLayoutEffect(() => {
      const before = tops.current;
      tops.current = new Map();
      for (const row of listed.current.children) {
        const place = row.dataset.place;
        tops.current.set(place, row.offsetTop);
        const moved = before.has(place) ? before.get(place) - row.offsetTop : 0;
        if (moved && !calm.matches) row.animate([{ transform: `translateY(${moved}px)` }, { transform: "none" }], 250);
      }
    }, [scores]);
    return html`<section aria-label="Top ${TOP}">
      <h2>Her top ${TOP}${off.length ? ", as estimated" : ""}</h2>
      <ol class="ex-ranking" ref=${listed}>${order.map((place, rank) => {
        const [title, year, genres] = index.films[part.items[place]];
        const moved = place - rank;
        const mark = place === 0 ? " ex-rec" : place === to ? " ex-to" : "";
        return html`<li key=${place} data-place=${place} class=${`ex-candidate${mark}`}>
          <span class="ex-title">${title}${year === null ? "" : ` (${year})`}
            ${place === 0 && html` <span class="ex-tag">recommended</span>`}${place === to && html` <span class="ex-tag">instead</span>`}</span>
          <span class="ex-genres">${genres}</span>
          <span class="ex-score"><span class="ex-bar" style="width:${width(scores[place])}%"></span>
            ${truth && html`<span class="ex-truth" style="left:${width(truth[place])}%"></span>`}</span>
          <span class="ex-number">${plain(index, scores[place])}${moved !== 0 && html` <span class="ex-moved">
            ${moved > 0 ? "▲" : "▼"}${Math.abs(moved)}<span class="ex-hidden"> places ${moved > 0 ? "up" : "down"}</span></span>`}
            ${truth && html`<span class="ex-retrained">retrained ${plain(index, truth[place])}, place ${trueRank[place] + 1}</span>`}</span>
        </li>`;
      })}</ol>
      <p class="ex-note">${truth
        ? "This very set was taken out and the recommender trained again: the upright mark and the second number show where each film then stood."
        : "Bars run from the lowest to the highest score of her 20 candidates."}</p>
    </section>`;
  }

  /** The gap, action by action, as the search closed it; and where retraining left it. */
  function GapChart({ index, about, part, explanation, off }) {
    const to = model.rival(explanation);
    const order = off.length ? [...off] : explanation.set;
    const way = model.path(part, to, order);
    const after = model.retrained(part, order);
    const truth = after && after[0] - after[to];
    const values = [...way, 0, ...(truth === null ? [] : [truth])];
    const [low, high] = [Math.min(...values), Math.max(...values)];
    const [wide, tall, left, top] = [320, 130, 56, 12];
    const x = (step) => left + ((wide - left - 110) * step) / Math.max(way.length - 1, 1);
    const y = (value) => top + ((tall - 2 * top) * (high - value)) / (high - low || 1);
    const line = way.map((value, step) => `${step ? `H${x(step)}V` : `M${x(0)} `}${y(value)}`).join("");
    const told = `The gap between the recommendation and its rival, ${plain(index, way[0])} ${about.unit}, becomes${" "}
      ${plain(index, way.at(-1))} after ${counted(order.length, "action")}, as estimated${truth === null ? "" : `; ${plain(index, truth)} when retrained`}.`;
    return html`<figure class="ex-gap"><svg viewBox="0 0 ${wide} ${tall}" role="img" aria-label=${told}>
      <line class="ex-zero" x1=${left} x2=${wide - 4} y1=${y(0)} y2=${y(0)} />
      <text x=${left - 6} y=${y(0) + 4} text-anchor="end">0</text>
      ${Math.abs(y(way[0]) - y(0)) > 12 && html`<text x=${left - 6} y=${y(way[0]) + 4} text-anchor="end">${plain(index, way[0])}</text>`}
      <path class="ex-way" d=${line} />
      ${way.map((value, step) => html`<circle class="ex-step" cx=${x(step)} cy=${y(value)} r="3.5" />`)}
      ${way.length > 1 && html`<text x=${x(way.length - 1) + 7} y=${y(way.at(-1)) + 4}>${plain(index, way.at(-1))}</text>`}
      ${truth !== null && html`<path class="ex-true" d="M${wide - 52} ${y(truth) - 5}l5 5l-5 5l-5 -5z" />
        <text x=${wide - 44} y=${y(truth) + 4}>${plain(index, truth)}</text>`}
    </svg><figcaption>${off.length ? "The gap, action by action" : "How the gap would close, action by action"}: dots are estimated${truth === null ? "" : ", the diamond is retrained"}.
      Below zero the other film leads.</figcaption></figure>`;
  }

  /** One action; drawn again only if something about it changed. */
  function Action({ index, z, name, push, most, isOff, inSet, disliked, toggle }) {
    return useMemo(() => html`<li class=${`${isOff ? "ex-off" : ""} ${inSet ? "ex-in-set" : ""}`}>
      <label><input type="checkbox" checked=${!isOff} onChange=${() => toggle.current(z)} />
        <span class="ex-title"><span class="ex-name">${name}</span>${inSet && html` <span class="ex-tag">in the set</span>`}
          ${disliked && html` <span class="ex-tag ex-faint">disliked</span>`}</span>
        <span class="ex-push"><span class=${push > 0 ? "ex-closes" : "ex-opens"} style="width:${(50 * Math.abs(push)) / most}%"></span></span>
        <span class="ex-number">${signed(index, push)}</span></label></li>`, [z, name, push, most, isOff, inSet, disliked]);
  }

  /** Her actions; each can be switched off. */
  function History({ index, part, to, off, setOff, explanation, liked }) {
    const [filter, setFilter] = useState("");
    const [sort, setSort] = useState("push");
    const push = useMemo(() => model.pushes(part, to), [part, to]);
    const most = Math.max(...push.map(Math.abs), 1);
    const names = useMemo(() => part.actions.map((code) => model.filmName(index, code)), [part]);
    const out = new Set(off);
    const inSet = new Set(explanation.set);
    const order = useMemo(() => {
      const places = names.map((_, z) => z);
      return sort === "push" ? places.sort((a, b) => push[b] - push[a]) : places.sort((a, b) => names[a].localeCompare(names[b]));
    }, [names, push, sort]);
    const shown = order.filter((z) => names[z].toLowerCase().includes(filter.toLowerCase()));
    const toggle = useRef(null);
    toggle.current = (z) => setOff(out.has(z) ? off.filter((other) => other !== z) : [...off, z]);
    return html`<section aria-label="History">
      <h2>Her history: ${counted(part.actions.length, "action")}${off.length ? `, ${off.length} off` : ""}</h2>
      <div class="ex-tools">
        <label class="ex-grow"><span class="ex-hidden">Find a film in her history</span>
          <input type="search" placeholder="find a film" value=${filter} onInput=${(event) => setFilter(event.target.value)} /></label>
        <label>by <select value=${sort} onChange=${(event) => setSort(event.target.value)}>
          <option value="push">push on the gap</option><option value="name">title</option></select></label>
        <button type="button" disabled=${!off.length} onClick=${() => setOff([])}>All on</button>
      </div>
      <ul class="ex-history" tabindex="0" aria-label="Actions; untick one to switch it off">
        ${shown.map((z) => html`<${Action} key=${z} index=${index} z=${z} name=${names[z]} push=${push[z]} most=${most} isOff=${out.has(z)}
          inSet=${inSet.has(z)} disliked=${liked && !liked.has(part.actions[z])} toggle=${toggle} />`)}</ul>
      <p class="ex-note">The number is what the action holds up of the gap; switching it off takes that away.</p>
    </section>`;
  }

  /** All of it for one user. */
  function User({ index, chosen, choose, data }) {
    const part = data[chosen.rec];
    const about = index.recommenders[chosen.rec];
    const explanation = part.explanations.find((e) => e.by === chosen.by && e.k === chosen.k);
    const to = model.rival(explanation);
    const off = useMemo(() => chosen.off.filter((z) => z < part.actions.length), [chosen.off, part]);
    const setOff = (actions) => choose({ off: [...actions] });
    const liked = useMemo(() => (data.rcf ? new Set(data.rcf.actions) : null), [data]);
    const first = model.ranking(model.estimate(part, off))[0];
    return html`<div>
      <${Words} index=${index} part=${part} about=${about} user=${chosen.user} explanation=${explanation} off=${off} setOff=${setOff} />
      <p class="ex-hidden" aria-live="polite">${off.length
        ? `${counted(off.length, "action")} off: ${model.filmName(index, part.items[first])} is first, as estimated.`
        : `All actions on: ${model.filmName(index, part.items[0])} is first.`}</p>
      <${Explanations} index=${index} part=${part} about=${about} chosen=${chosen} choose=${choose} />
      <div class="ex-columns">
        <${Ranking} key=${`${chosen.user} ${chosen.rec}`} index=${index} part=${part} off=${off} to=${to} />
        <div><${GapChart} index=${index} about=${about} part=${part} explanation=${explanation} off=${off} />
          <${History} index=${index} part=${part} to=${to} off=${off} setOff=${setOff} explanation=${explanation} liked=${liked} /></div>
      </div>
      <p class="ex-note">Scores and gaps in ${about.unit}. ${about.seeds
        ? `Retrained: ${counted(about.seeds, "retraining")} on other shuffles, ${about.made}.`
        : "No verified outcomes are stored for this recommender yet."}</p>
    </div>`;
  }

  function App({ index }) {
    const [chosen, setChosen] = useState(() => model.state.read(location.hash, index));
    const [data, setData] = useState(null);
    const [problem, setProblem] = useState(null);
    const choose = (changes) => {
      const next = { ...chosen, ...changes };
      setChosen(next);
      history.replaceState(null, "", model.state.write(next));
    };
    useEffect(() => {
      const follow = () => setChosen(model.state.read(location.hash, index));
      addEventListener("hashchange", follow);
      return () => removeEventListener("hashchange", follow);
    }, []);
    useEffect(() => {
      let wanted = true;
      model.loadUser(chosen.user).then((user) => wanted && (setData(user), setProblem(null)), (error) => wanted && setProblem(error.message));
      return () => { wanted = false; };
    }, [chosen.user]);
    return html`<div>
      <${Controls} index=${index} chosen=${chosen} choose=${choose} />
      ${problem && html`<p role="alert">${problem}</p>`}
      ${data && data.id === chosen.user
        ? html`<${User} index=${index} chosen=${chosen} choose=${choose} data=${data} />`
        : !problem && html`<p>Loading user ${chosen.user} …</p>`}
    </div>`;
  }

  const place = document.getElementById("explorer");
  model.loadIndex().then(
    (index) => { place.replaceChildren(); render(html`<${App} index=${index} />`, place); },
    (error) => { place.textContent = error.message; },
  );
})();
