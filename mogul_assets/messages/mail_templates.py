"""How a mail looks: HTML for one narrow column, light and dark; and the same as plain text.

Whatever a client strips of the styles, what is left is headings and tables in reading order.
"""

HTML = """\
<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<meta name="supported-color-schemes" content="light dark">
<title>{{ page.title }}</title>
<style>
  :root { color-scheme: light dark; supported-color-schemes: light dark; }
  body { margin: 0; padding: 16px; background: #ffffff; color: #25303b; }
  .page { max-width: 600px; margin: 0 auto; font: 16px/1.5 system-ui, "Segoe UI", Helvetica, Arial, sans-serif; }
  h1 { font-size: 22px; line-height: 1.3; margin: 0 0 4px; }
  h2 { font-size: 17px; margin: 28px 0 8px; }
  p { margin: 0 0 12px; }
  table { width: 100%; border-collapse: collapse; }
  td { padding: 6px 0; border-bottom: 1px solid #dde3e8; vertical-align: top; overflow-wrap: anywhere; }
  td.amount { padding-left: 12px; text-align: right; white-space: nowrap; font-variant-numeric: tabular-nums; }
  tr.level td { font-weight: 600; }
  img { display: block; width: 100%; height: auto; margin: 16px 0; border-radius: 6px; }
  a { color: #1f6f8b; }
  .net { font-size: 28px; font-weight: 700; margin: 0; }
  .aside { color: #5b6874; font-size: 14px; font-weight: 400; }
  .foot { margin-top: 16px; }
  @media (prefers-color-scheme: dark) {
    body { background: #14191f; color: #e6eaee; }
    td { border-color: #333d47; }
    a { color: #7cc7de; }
    .aside { color: #a3afba; }
  }
</style>
</head>
<body>
<div class="page">
<h1>{{ page.title }}</h1>
{% if recap %}
<p class="net">{{ page.net }}</p>
<p class="aside">net change in MRR, {{ page.movements }}</p>
{% if chart %}
<img src="{{ chart }}" alt="{{ page.chart_in_words }}" width="600">
{% endif %}
<table width="100%">
{% for line in page.figures %}
<tr{% if line.level %} class="level"{% endif %}>
<td>{{ line.name }}{% if line.count %} <span class="aside">{{ line.count }}</span>{% endif %}</td>
<td class="amount" align="right">{{ line.amount }}</td>
</tr>
{% endfor %}
</table>
{% for heading, movements in page.largest if movements %}
<h2>{{ heading }}</h2>
<table width="100%">
{% for one in movements %}
<tr>
<td><bdi>{{ one.customer }}</bdi>
{% if one.description %}<br><span class="aside"><bdi>{{ one.description }}</bdi></span>{% endif %}</td>
<td class="amount" align="right">{{ one.amount }}
{% if one.mrr %}<br><span class="aside">{{ one.mrr }}</span>{% endif %}</td>
</tr>
{% endfor %}
</table>
{% endfor %}
{% endif %}
<h2>Files</h2>
<table width="100%">
{% for file in page.files %}
<tr>
<td>{% if file.link %}<a href="{{ file.link }}">{{ file.name }}</a>{% else %}{{ file.name }}{% endif %}
<br><span class="aside">{{ file.said }}</span></td>
<td class="amount" align="right">{{ file.rows }}<br><span class="aside">{{ file.size }}</span></td>
</tr>
{% endfor %}
</table>
<p class="aside foot">{{ page.how }}</p>
<p class="aside">{{ page.origin }}</p>
</div>
</body>
</html>
"""

TEXT = """\
{% autoescape false %}
{{ page.title }}

{% if recap %}
{{ page.net }}: net change in MRR, {{ page.movements }}

{% for line in page.figures %}
{{ line.text }}
{% endfor %}

{% for heading, movements in page.largest if movements %}
{{ heading }}
{% for one in movements %}
- {{ one.amount }}  {{ one.customer }}{% if one.mrr %} ({{ one.mrr }}){% endif %}{{ ": " if one.description }}\
{{ one.description }}
{% endfor %}

{% endfor %}
{% endif %}
Files
{% for file in page.files %}
- {{ file.name }}: {{ file.said }}, {{ file.rows }}, {{ file.size }}
{% if file.link %}
  {{ file.link }}
{% endif %}
{% endfor %}

{{ page.how }}

{{ page.origin }}
{% endautoescape %}
"""
