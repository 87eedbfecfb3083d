"""The addresses of the application."""

from django.urls import path

from files import views

app_name = "files"

urlpatterns = [path("<int:pk>/", views.content, name="content")]
