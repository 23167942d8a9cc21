// Before anything is drawn: the theme that was chosen here, if one was.
document.documentElement.dataset['theme'] = localStorage.getItem('snapless-theme') ?? 'auto';
