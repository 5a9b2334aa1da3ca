"use strict";
(() => {
  const data = JSON.parse(document.getElementById("data").textContent);
  const FIRST = 200;
  const $ = (id) => document.getElementById(id);
  const element = (name, text, kind) => {
    const made = document.createElement(name);
    if (text !== undefined) made.textContent = text;
    if (kind) made.className = kind;
    return made;
  };
  // What a reader chose outlives a reload; where the browser keeps nothing, it does not.
  const kept = (() => {
    const name = "tuner:" + location.pathname;
    let state = {};
    try { state = JSON.parse(sessionStorage.getItem(name)) || {}; } catch { /* nothing is kept */ }
    return {
      get: (key) => state[key],
      set: (key, value) => {
        state[key] = value;
        try { sessionStorage.setItem(name, JSON.stringify(state)); } catch { /* as above */ }
      },
    };
  })();

  // The table

  function showTable(grid) {
    const table = $("table");
    if (!table) return;
    const heads = [...table.tHead.rows[0].cells];
    const words = grid.lines.map((line) => line.cells.join("\n").toLowerCase());
    const place = grid.fields.findIndex((field) => field.name === "status");
    const trial = grid.fields.findIndex((field) => field.name === "trial");
    let sort = kept.get("sort") || null;
    let most = FIRST;

    heads.forEach((head, column) => {
      const button = element("button", head.textContent);
      button.type = "button";
      button.addEventListener("click", () => {
        const down = sort && sort.column === column ? !sort.down : false;
        sort = { column, down };
        kept.set("sort", sort);
        draw();
      });
      head.replaceChildren(button);
    });

    function order() {
      const wanted = $("filter").value.toLowerCase().split(/\s+/).filter(Boolean);
      const status = $("status").value;
      const found = [];
      grid.lines.forEach((line, number) => {
        if (status && line.status !== status) return;
        if (wanted.every((word) => words[number].includes(word))) found.push(number);
      });
      if (!sort || !grid.fields[sort.column]) return found;
      const key = (number) => grid.lines[number].keys[sort.column];
      const sign = sort.down ? -1 : 1;
      return found.sort((a, b) => {
        const [left, right] = [key(a), key(b)];
        if (left === null || right === null) return (left === null) - (right === null) || a - b;
        if (typeof left === "number" && typeof right === "number") return sign * (left - right) || a - b;
        return sign * String(left).localeCompare(String(right), "en", { numeric: true }) || a - b;
      });
    }

    function row(line) {
      const made = element("tr", undefined, "is-" + line.status);
      if (trial >= 0 && line.cells[trial] === data.winner) made.classList.add("is-winner");
      line.cells.forEach((text, column) => {
        const cell = element("td", undefined, grid.fields[column].numeric ? "number" : "");
        if (column === place) cell.classList.add("status");
        if (line.link && column === 0) {
          const link = element("a", text);
          link.href = line.link;
          cell.append(link);
        } else {
          cell.textContent = text;
        }
        made.append(cell);
      });
      return made;
    }

    function draw() {
      const found = order();
      heads.forEach((head, column) => {
        if (sort && sort.column === column) head.setAttribute("aria-sort", sort.down ? "descending" : "ascending");
        else head.removeAttribute("aria-sort");
      });
      table.tBodies[0].replaceChildren(...found.slice(0, most).map((number) => row(grid.lines[number])));
      const all = grid.lines.length.toLocaleString("en");
      $("shown").textContent = found.length === grid.lines.length ? all + " rows" : found.length.toLocaleString("en") + " of " + all + " rows";
      $("more").hidden = found.length <= most;
      $("more").textContent = "Show all " + found.length.toLocaleString("en") + " rows";
    }

    $("filter").value = kept.get("filter") || "";
    $("status").value = kept.get("status") || "";
    if ($("status").selectedIndex < 0) $("status").value = "";
    $("filter").addEventListener("input", () => { kept.set("filter", $("filter").value); draw(); });
    $("status").addEventListener("change", () => { kept.set("status", $("status").value); draw(); });
    $("more").addEventListener("click", () => { most = Infinity; draw(); });
    document.querySelector(".controls").hidden = false;
    draw();
  }

  // The charts

  const STATUSES = ["finished", "stopped", "failed", "running", "unfinished", "waiting", "lost", "cut"];
  const SYMBOLS = { finished: "circle", stopped: "x", failed: "triangle-down", running: "diamond" };
  const PATTERNS = { stopped: "/", failed: "x", lost: "x", cut: "\\", running: "." };
  let printing = false;

  const dark = () => !printing && matchMedia("(prefers-color-scheme: dark)").matches;
  // Viridis without the end that a thin line would be lost with on this ground.
  const viridis = () => (dark() ? ["#414487", "#2a788e", "#22a884", "#7ad151", "#fde725"] : ["#440154", "#414487", "#2a788e", "#1f968b", "#3fa34d"]).map((colour, at) => [at / 4, colour]);

  function colours() {
    const style = getComputedStyle(document.documentElement);
    const read = (name) => style.getPropertyValue("--" + name).trim();
    const found = { text: read("text"), quiet: read("quiet"), line: read("line"), page: read("page"), winner: read("winner") };
    for (const status of STATUSES) found[status] = read(status) || read({ lost: "failed", cut: "waiting", unfinished: "waiting" }[status]);
    return found;
  }

  // Plotly reads a few tags in texts that it shows; texts of data are shown as they are.
  const plain = (text) => String(text).replace(/&/g, "&amp;").replace(/</g, "&lt;").replace(/>/g, "&gt;");
  const short = (text, most) => (text.length > most ? text.slice(0, most - 1) + "…" : text);
  const score = (value) => (value === null ? "none" : value.toFixed(4));

  // Plotly gives an axis with a single value on it two units of room, where scores differ by hundredths.
  function room(values, log) {
    const numbers = values.filter((value) => typeof value === "number");
    if (!numbers.length || numbers.some((value) => value !== numbers[0])) return {};
    const at = log ? Math.log10(numbers[0]) : numbers[0];
    const around = log ? 0.3 : 0.05 * Math.abs(at) || 0.05;
    return { range: [at - around, at + around] };
  }

  function layout(ink, more) {
    const axis = { gridcolor: ink.line, zerolinecolor: ink.line, linecolor: ink.quiet, automargin: true };
    const { xaxis, yaxis, ...rest } = more;
    return {
      paper_bgcolor: "rgba(0,0,0,0)",
      plot_bgcolor: "rgba(0,0,0,0)",
      font: { color: ink.text, family: "system-ui, sans-serif", size: 12 },
      margin: { l: 56, r: 14, t: 28, b: 44 },
      hoverlabel: { bgcolor: ink.page, bordercolor: ink.quiet, font: { color: ink.text } },
      legend: { orientation: "h", x: 0, y: 1.02, yanchor: "bottom", bgcolor: "rgba(0,0,0,0)" },
      xaxis: { ...axis, ...xaxis },
      yaxis: { ...axis, ...yaxis },
      ...rest,
    };
  }

  function curves(ink) {
    const axis = (document.querySelector("input[name=axis]:checked") || { value: "shares" }).value;
    const groups = new Map();
    for (const curve of data.curves) {
      const group = curve.trial === data.winner ? "winner" : curve.status;
      if (!groups.has(group)) groups.set(group, []);
      groups.get(group).push(curve);
    }
    const order = [...STATUSES.filter((status) => groups.has(status)), ...(groups.has("winner") ? ["winner"] : [])];
    const traces = order.map((group) => {
      const trace = { x: [], y: [], text: [], name: group === "winner" ? "winner " + data.winner : group, mode: "lines+markers", type: "scatter" };
      const sizes = [];
      for (const curve of groups.get(group)) {
        curve[axis].forEach((x, at) => {
          const last = at === curve.shares.length - 1;
          trace.x.push(axis === "shares" && x !== null ? 100 * x : x);
          trace.y.push(curve.scores[at]);
          trace.text.push(plain(curve.trial) + ", " + curve.status + "<br>" + score(curve.scores[at]) + " at " + Math.round(100 * curve.shares[at]) + " % (step " + curve.steps[at] + ")");
          sizes.push(last ? 8 : 4);
        });
        trace.x.push(null); trace.y.push(null); trace.text.push(""); sizes.push(0);
      }
      const few = data.curves.length <= 60;
      trace.line = { color: ink[group], width: group === "winner" ? 3.5 : 1.5, dash: group === "stopped" ? "dot" : "solid" };
      trace.marker = { color: ink[group], size: sizes, symbol: SYMBOLS[group] || "circle" };
      trace.opacity = group === "winner" || few ? 1 : 0.55;
      trace.hovertemplate = "%{text}<extra></extra>";
      return trace;
    });
    const titles = { shares: "share of the trial's own schedule, %", epochs: "epochs", steps: "optimizer steps" };
    const rungs = axis === "shares" ? data.rungs : [];
    return [traces, layout(ink, {
      hovermode: "closest",
      xaxis: { title: { text: titles[axis] }, rangemode: "tozero", ...(axis === "shares" ? { range: [0, 104] } : {}) },
      yaxis: { title: { text: plain(data.objective) }, ...room(data.curves.flatMap((curve) => curve.scores)) },
      shapes: rungs.map((at) => ({ type: "line", x0: 100 * at, x1: 100 * at, yref: "paper", y0: 0, y1: 1, layer: "below", line: { color: ink.quiet, width: 1, dash: "dash" } })),
      annotations: rungs.map((at, number) => ({ x: 100 * at, y: 0, yref: "paper", yanchor: "bottom", xanchor: "right", showarrow: false, text: number === rungs.length - 1 ? "end" : "rung " + (number + 1), font: { size: 11, color: ink.quiet } })),
    })];
  }

  const logTicks = (values) => ({ dtick: Math.max(...values) / Math.min(...values) < 2000 ? "D2" : 1, exponentformat: "e" });

  function points(number) {
    return (ink) => {
      const { trials, statuses, scores, shares, axes } = data.points;
      const axis = axes[number];
      const traces = STATUSES.filter((status) => statuses.includes(status)).map((status) => {
        const which = trials.map((_, at) => at).filter((at) => statuses[at] === status);
        return {
          type: "scatter",
          mode: "markers",
          name: status,
          x: which.map((at) => axis.values[at]).map((value) => (typeof value === "string" ? plain(short(value, 30)) : typeof value === "boolean" ? String(value) : value)),
          y: which.map((at) => scores[at]),
          text: which.map((at) => plain(trials[at]) + ", " + status + " at " + Math.round(100 * shares[at]) + " %<br>" + score(scores[at])),
          hovertemplate: "%{text}<br>%{x}<extra></extra>",
          marker: {
            color: ink[status], symbol: SYMBOLS[status] || "circle-open", opacity: trials.length > 200 ? 0.5 : 0.9,
            size: which.map((at) => (trials[at] === data.winner ? 13 : 8)),
            line: { color: which.map((at) => (trials[at] === data.winner ? ink.winner : ink.page)), width: which.map((at) => (trials[at] === data.winner ? 2 : 0.5)) },
          },
        };
      });
      return [traces, layout(ink, {
        hovermode: "closest",
        showlegend: number === 0,
        xaxis: { title: { text: plain(axis.label) + (axis.log ? " (log)" : "") }, type: axis.log ? "log" : typeof axis.values.find((value) => value !== null) === "number" ? "linear" : "category", ...(axis.log ? logTicks(axis.values) : {}), ...room(axis.values, axis.log) },
        yaxis: { title: { text: plain(data.objective) }, ...room(scores) },
      })];
    };
  }

  function parallel(ink) {
    const { scores, shares, axes } = data.points;
    const dimension = (label, values, log) => {
      const numeric = values.every((value) => typeof value === "number" || value === null);
      if (numeric && log) {
        const logs = values.map((value) => Math.log10(value));
        const [low, high] = [Math.min(...logs), Math.max(...logs)];
        const ticks = [];
        for (let power = Math.floor(low); power <= high; power++) for (const lead of [1, 3]) {
          const at = power + Math.log10(lead);
          if (at >= low - 0.05 && at <= high + 0.05) ticks.push([at, lead + "e" + power]);
        }
        return { label, values: logs, tickvals: ticks.map(([at]) => at), ticktext: ticks.map(([, text]) => text) };
      }
      if (numeric) {
        const different = [...new Set(values)].sort((a, b) => a - b);
        return { label, values, ...(different.length <= 8 ? { tickvals: different, ticktext: different.map(String) } : {}) };
      }
      const names = [...new Set(values.map(String))].sort();
      return { label, values: values.map((value) => names.indexOf(String(value))), tickvals: names.map((_, at) => at), ticktext: names.map((name) => short(name, 14)) };
    };
    return [[{
      type: "parcoords",
      dimensions: [
        ...axes.map((axis) => dimension(plain(short(axis.label, 16)), axis.values, axis.log)),
        { label: "done, %", values: shares.map((share) => 100 * share), range: [0, 100] },
        { label: plain(data.objective), values: scores },
      ],
      line: { color: scores, colorscale: viridis(), reversescale: (data.direction === "min") === dark(), showscale: true, colorbar: { thickness: 12, outlinewidth: 0, tickfont: { color: ink.text } } },
      unselected: { line: { color: ink.quiet, opacity: 0.12 } },
      labelfont: { color: ink.text, size: 12 },
      tickfont: { color: ink.text, size: 11 },
      rangefont: { color: ink.quiet, size: 10 },
    }], layout(ink, { margin: { l: 44, r: 20, t: 56, b: 24 } })];
  }

  function importance(ink) {
    const names = Object.keys(data.importance.shares).reverse();
    const shares = names.map((name) => 100 * data.importance.shares[name]);
    return [[{
      type: "bar", orientation: "h", x: shares, y: names.map((name) => plain(data.labels[name])),
      text: shares.map((share) => Math.round(share) + " %"), textposition: "auto", textangle: 0, cliponaxis: false,
      marker: { color: ink.finished }, hovertemplate: "%{y}: %{x:.0f} %<extra></extra>",
    }], layout(ink, { xaxis: { title: { text: "share of the importance, %" }, rangemode: "tozero" }, yaxis: { type: "category" } })];
  }

  function clock(seconds) {
    const [unit, name] = seconds < 180 ? [1, "seconds"] : seconds < 10800 ? [60, "minutes"] : [3600, "hours"];
    return { unit, title: name + " since the start" };
  }

  function best(ink) {
    const { seconds, trials, scores } = data.best;
    const { unit, title } = clock(data.seconds);
    const x = seconds.map((at) => at / unit);
    const end = Math.max(data.seconds / unit, ...x.slice(-1));
    return [[
      { type: "scatter", mode: "markers", name: "finished trial", x, y: scores, text: trials.map(plain), hovertemplate: "%{text}: %{y:.4f}<extra></extra>", marker: { color: ink.finished, size: 7, opacity: trials.length > 200 ? 0.4 : 1 } },
      { type: "scatter", mode: "lines", name: "best so far", x: [...x, end], y: [...data.best.best, data.best.best[data.best.best.length - 1]], line: { shape: "hv", color: ink.winner, width: 2.5 }, hoverinfo: "skip" },
    ], layout(ink, { hovermode: "closest", xaxis: { title: { text: title }, range: [0, 1.03 * end || 1] }, yaxis: { title: { text: plain(data.objective) }, ...room(scores) } })];
  }

  function work(ink) {
    const { unit, title } = clock(data.seconds);
    const lanes = new Map(data.slots.map((slot, number) => [slot, slot === "not known" ? "not known" : "slot " + (number + 1)]));
    const labelled = data.work.length <= 60;
    const traces = STATUSES.filter((status) => data.work.some((piece) => piece.ended === status)).map((status) => {
      const pieces = data.work.filter((piece) => piece.ended === status);
      return {
        type: "bar", orientation: "h", name: status,
        y: pieces.map((piece) => lanes.get(piece.slot)),
        base: pieces.map((piece) => piece.start / unit),
        x: pieces.map((piece) => (piece.end - piece.start) / unit),
        text: pieces.map((piece) => (labelled ? plain(piece.trial) : "")), textposition: "inside", insidetextanchor: "middle", constraintext: "inside", textangle: 0,
        customdata: pieces.map((piece) => [plain(piece.trial), plain(piece.slot), piece.start / unit, piece.end / unit]),
        hovertemplate: "%{customdata[0]} (" + status + ")<br>%{customdata[2]:.1f} to %{customdata[3]:.1f}<br>%{customdata[1]}<extra></extra>",
        marker: { color: ink[status], line: { color: ink.page, width: labelled ? 1 : 0 }, pattern: { shape: PATTERNS[status] || "", fillmode: "overlay", fgcolor: ink.page, fgopacity: 0.6, solidity: 0.2, size: 7 } },
      };
    });
    return [traces, layout(ink, {
      barmode: "overlay", hovermode: "closest",
      xaxis: { title: { text: title }, rangemode: "tozero" },
      yaxis: { type: "category", categoryorder: "array", categoryarray: [...lanes.values()].reverse(), automargin: true },
    })];
  }

  function confusion(ink) {
    const { labels, confusion: cells } = data.final;
    const names = labels.map((label) => plain(short(label, 18)));
    const ticks = { tickmode: "array", tickvals: labels.map((_, at) => at), ticktext: names };
    const shares = cells.map((row) => row.map((cell) => (100 * cell) / Math.max(1, row.reduce((sum, each) => sum + each, 0))));
    return [[{
      type: "heatmap", z: shares, zmin: 0, zmax: 100, colorscale: "Cividis", reversescale: !dark(), xgap: 2, ygap: 2,
      text: cells.map((row, at) => row.map((cell, to) => cell.toLocaleString("en") + (labels.length <= 6 ? "<br>" + shares[at][to].toFixed(0) + " %" : ""))),
      ...(labels.length <= 12 ? { texttemplate: "%{text}" } : {}),
      customdata: cells.map((row, at) => row.map((_, to) => [names[at], names[to]])),
      hovertemplate: "%{customdata[0]}, taken for %{customdata[1]}<br>%{text}<extra></extra>",
      colorbar: { title: { text: "% of the<br>true class" }, thickness: 12, outlinewidth: 0, tickfont: { color: ink.text } },
    }], layout(ink, {
      xaxis: { title: { text: "predicted" }, showgrid: false, ...ticks },
      yaxis: { title: { text: "true" }, autorange: "reversed", showgrid: false, ...ticks },
    })];
  }

  const CHARTS = [
    ["curves", curves],
    ...(data.points ? data.points.axes.map((_, number) => ["points-" + number, points(number)]) : []),
    ["parallel", parallel],
    ["importance", importance],
    ["best", best],
    ["work", work],
    ["confusion", confusion],
  ];

  function draw(id, make) {
    const place = $(id);
    if (!place) return;
    if (id === "work") place.style.height = Math.min(900, 130 + 34 * data.slots.length) + "px";
    if (id === "importance") place.style.height = 90 + 34 * Object.keys(data.importance.shares).length + "px";
    const [traces, shape] = make(colours());
    if (printing) shape.width = Math.min(680, place.clientWidth || 680);
    window.Plotly.react(place, traces, { ...shape, autosize: !printing }, { responsive: true, displayModeBar: false, showTips: false });
  }

  const drawAll = () => CHARTS.forEach(([id, make]) => draw(id, make));
  const pause = () => new Promise((resolve) => setTimeout(resolve));

  async function loadPlotly() {
    const packed = Uint8Array.from(atob($("plotly").textContent), (letter) => letter.charCodeAt(0));
    const stream = new Blob([packed]).stream().pipeThrough(new DecompressionStream("gzip"));
    const script = element("script", await new Response(stream).text());
    document.head.append(script);
    if (!window.Plotly) throw new Error("the script did not run");
  }

  async function showCharts() {
    if (!$("plotly")) return;
    try {
      await loadPlotly();
    } catch {
      // An old browser: the table and every caption say in words what the charts show.
      document.querySelectorAll(".chart").forEach((place) => {
        place.classList.add("empty");
        place.textContent = "This browser cannot draw the chart; its text says the same.";
      });
      document.body.dataset.charts = "none";
      return;
    }
    for (const [id, make] of CHARTS) {
      draw(id, make);
      await pause();
    }
    if ($("axis")) {
      $("axis").hidden = false;
      $("axis").addEventListener("change", () => draw("curves", curves));
    }
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", drawAll);
    matchMedia("print").addEventListener("change", (print) => { printing = print.matches; drawAll(); });
    document.body.dataset.charts = "drawn";
  }

  if (data.grid) showTable(data.grid);
  showCharts();
})();
