"""The addresses of the views that ours is compared to."""

from django.urls import path

from benchmarks.stock import views

urlpatterns = [
    path("bare/<int:pk>/", views.private(views.bare)),
    path("bare-open/<int:pk>/", views.bare),
    path("chunks/<int:pk>/", views.private(views.chunks)),
    path("file/<int:pk>/", views.private(views.file)),
    path("constant/<int:pk>/", views.private(views.constant)),
    path("constant-open/<int:pk>/", views.constant),
]
